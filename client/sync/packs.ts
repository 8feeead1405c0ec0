/** Pieces put together into records: ten thousand small files are not ten thousand records. */
import { MarketError } from '../../market/errors.ts'
import type { Piece } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import type { Pack } from '../home/folders.ts'
import { type Entry, entries } from '../home/outbox.ts'
import { newRecordId } from '../mail/post.ts'

/** A piece that is on no relay yet. */
export interface Wanted {
  readonly piece: Piece
  /** @throws ERR_CHANGED when it is not there any more */
  read(): Promise<Uint8Array>
}

export interface PackPlan {
  readonly pack: Pack
  readonly size: number
  read(): Promise<Uint8Array>
}

/** Where pieces are, by their hashes. */
export type Places = ReadonlyMap<string, { readonly at: RecordId; readonly offset: number }>

/** Records of at most `packBytes` each, every piece once, in this order. @throws ERR_TOO_LARGE */
export function planPacks(wanted: Iterable<Wanted>, packBytes: number): PackPlan[] {
  const plans: PackPlan[] = []
  const planned = new Set<string>()
  let [held, size]: [Wanted[], number] = [[], 0]
  const close = () => {
    if (held.length > 0) plans.push(packOf(held, size))
    ;[held, size] = [[], 0]
  }
  for (const one of wanted) {
    const { sha256, length } = one.piece
    if (planned.has(sha256)) continue
    planned.add(sha256)
    if (length > packBytes)
      throw new MarketError('ERR_TOO_LARGE', 'your relay takes too small records for this folder')
    if (size + length > packBytes) close()
    held.push(one)
    size += length
  }
  close()
  return plans
}

function packOf(held: readonly Wanted[], size: number): PackPlan {
  let offset = 0
  const pieces = held.map(({ piece: { sha256, length } }): Pack['pieces'][number] => {
    offset += length
    return [sha256, offset - length, length]
  })
  const read = async () => Buffer.concat(await Promise.all(held.map((one) => one.read())))
  return { pack: { id: newRecordId(), pieces }, size, read }
}

export function placesIn(packs: readonly Pack[]): Places {
  const places = new Map<string, { at: string; offset: number }>()
  for (const { id, pieces } of packs)
    for (const [sha256, offset] of pieces) places.set(sha256, { at: id, offset })
  return places
}

/** Records of ours that will be there for so long still, with what the outbox says of them. */
export async function livePacks(
  { home, now }: Context,
  packs: readonly Pack[],
  leastMs: number,
): Promise<{ pack: Pack; entry: Entry }[]> {
  const known = await entries(home)
  return packs.flatMap((pack) => {
    const entry = known.get(pack.id)
    const isLive = entry !== undefined && !entry.deleted && entry.expires - now() >= leastMs
    return isLive ? [{ pack, entry }] : []
  })
}
