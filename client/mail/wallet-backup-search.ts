/** Backups of the coins on the own relays: found by their tag, the newest first. */
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import { decodePayload } from '../../market/payload.ts'
import { parsePath, type RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { walletBackupTag } from '../home/own-backups.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { listTagged } from '../wire/listing.ts'

export const searchLimits = {
  /** Of one relay's list: a page, and pages. */
  listed: 100,
  pages: 10,
  /** How many of the newest are read: each is a pull. */
  read: 4,
} as const

export interface Found {
  readonly bytes: Uint8Array
  readonly recordId: RecordId
  readonly network: string
  readonly takenMs: number
  readonly relay: string
  /** Older ones. */
  readonly others: readonly RecordId[]
}

export interface Searched {
  readonly found: Found | undefined
  readonly failures: readonly { relay: string; error: Error }[]
}

/** The newest backup for this network that own relays have, pulled from oneself. One relay's failure stops no other. */
export async function findBackup(ctx: Context, network: string, options: CallOptions): Promise<Searched> {
  const failures: { relay: string; error: Error }[] = []
  const places = new Map<string, { at: number; connections: Connection[] }>()
  const search = async (relay: RelayAddress) => {
    const connection = ctx.connect(relay)
    try {
      for (const { path, at } of await listOwn(ctx, connection, options)) {
        const known = places.get(path) ?? { at, connections: [] }
        places.set(path, { at: Math.max(at, known.at), connections: [...known.connections, connection] })
      }
    } catch (error) {
      failures.push({ relay: relay.url, error: error as Error })
    }
  }
  await Promise.all((await ownRelays(ctx)).map(search))
  options.signal?.throwIfAborted()
  const newest = [...places].sort(([, a], [, b]) => b.at - a.at)
  const read: Omit<Found, 'others'>[] = []
  for (const [path, { connections }] of newest.slice(0, searchLimits.read)) {
    const one = await readOne(ctx, { path, connections, failures }, options)
    if (one?.network === network) read.push(one)
  }
  const [latest] = read.sort((a, b) => b.takenMs - a.takenMs)
  if (latest === undefined) return { found: undefined, failures }
  const others = [...places.keys()].map((path) => parsePath(path).recordId)
  return { found: { ...latest, others: others.filter((id) => id !== latest.recordId) }, failures }
}

/** What we have there for ourselves, with the times of its arrival. */
export function listOwn(ctx: Context, connection: Connection, options: CallOptions) {
  const self = ctx.wallet.identity
  const { listed: limit, pages } = searchLimits
  const list = { owner: self, receiver: self, tag: walletBackupTag, limit, pages, now: ctx.now() }
  return listTagged(connection, list, options)
}

async function readOne(
  { wallet }: Context,
  {
    path,
    connections,
    failures,
  }: { path: string; connections: Connection[]; failures: Searched['failures'] },
  options: CallOptions,
): Promise<Omit<Found, 'others'> | undefined> {
  const failed = failures as { relay: string; error: Error }[]
  for (const connection of connections) {
    const relay = formatAddress(connection.address)
    try {
      const { record } = await connection.call({ type: 'read', path }, options)
      if (record === undefined) continue
      const { recordId } = record.msg.request
      const plaintext = await wallet.decrypt(record.content, { recordId, counterparty: wallet.identity })
      const { payload, bytes } = decodePayload(plaintext)
      if (payload.type !== 'wallet-backup') return undefined
      return { bytes, recordId, network: payload.network, takenMs: payload.taken, relay }
    } catch (error) {
      options.signal?.throwIfAborted()
      failed.push({ relay: connection.address.url, error: error as Error })
    }
  }
  return undefined
}
