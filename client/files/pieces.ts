/** The chunks of a file: which ones there are, and each from the first relay that has it. */
import { z } from 'zod'
import type { RelayAddress } from '../../market/address.ts'
import { fromUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { type FileHead, payloadLimits } from '../../market/payload.ts'
import { formatPath, RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { type Arrival, arrival, keepArrival, openArrival } from '../home/inbox.ts'
import { bestFirst, noteTrouble, rest, restMs } from '../home/redundancy.ts'
import { noteRead } from '../mail/acks.ts'
import { friend } from '../people/friends.ts'
import { race } from '../wire/race.ts'
import type { TransferOptions } from './transfer.ts'

/** A file that is being fetched, and by whom. */
export interface Job {
  readonly ctx: Context
  readonly arrived: Arrival
  readonly head: FileHead
  readonly sources: readonly RelayAddress[]
  /** To many: its chunks are neither for the inbox nor acknowledged. */
  readonly isPosted: boolean
  readonly options: TransferOptions
}

/** Every chunk once, as many as the size needs: else a small record names a file that fills the disk. */
export async function chunkIds(job: Job): Promise<readonly RecordId[]> {
  const { chunks = [], parts = [], size, chunkBytes } = job.head
  const count = Math.ceil(size / chunkBytes)
  const ids: RecordId[] = [...chunks]
  if (new Set(parts).size < parts.length)
    throw new MarketError('ERR_MALFORMED', 'it names a list of chunks twice')
  for (const part of parts) {
    await fetchChunk(job, part, async (bytes, chunk) => {
      ids.push(...parseIds(bytes))
      if (!job.isPosted) await keepArrival(job.ctx.home, chunk)
    })
    if (ids.length > count) break
  }
  if (ids.length !== count)
    throw new MarketError('ERR_MALFORMED', 'its number of chunks does not fit its size')
  if (new Set([...ids, ...parts]).size < ids.length + parts.length)
    throw new MarketError('ERR_MALFORMED', 'it names a chunk twice')
  return ids
}

const Ids = z.array(RecordId).min(1).max(payloadLimits.chunksPerPart)

function parseIds(bytes: Uint8Array): RecordId[] {
  try {
    return Ids.parse(JSON.parse(fromUtf8(bytes)))
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'its list of chunks is not one', { cause })
  }
}

/** Gives `keep` the bytes of one chunk, from the inbox if it ever came, else from the first relay that gives it. */
export async function fetchChunk(
  job: Job,
  id: RecordId,
  keep: (bytes: Uint8Array, chunk: Arrival) => Promise<void>,
): Promise<void> {
  const { ctx, arrived, sources, isPosted } = job
  const { from } = arrived.record.msg
  const path = formatPath({ owner: from, receiver: ctx.wallet.identity, recordId: id })
  // Parts are kept there; and a relay that lists no tags makes every chunk come through it.
  const held = await arrival(ctx.home, path)
  const chunk = held ?? (await readFrom(job, path))
  const { payload, bytes } = await openArrival(ctx, chunk)
  if (payload.type !== 'chunk') throw new MarketError('ERR_MALFORMED', `its chunk ${id} is a ${payload.type}`)
  const isAcked = held === undefined && !isPosted && (await friend(ctx.home, from)) !== undefined
  if (isAcked) await noteRead(ctx, chunk)
  await keep(bytes, chunk)
  const source = sources.find(({ key }) => key === chunk.relay)
  if (held === undefined && source !== undefined) await ctx.connect(source).finishRead(path)
}

/**
 * A record from whichever relay gives it first; those in trouble are asked last, and who is slow is raced.
 * @throws ERR_NOT_FOUND where none has it, and as `call`
 */
export async function readFrom(
  { ctx, sources, options }: Pick<Job, 'ctx' | 'sources' | 'options'>,
  path: string,
): Promise<Arrival> {
  const asked: RelayAddress[] = []
  const silent = new Set<RelayAddress>()
  const ask = async (address: RelayAddress, signal: AbortSignal): Promise<Arrival | undefined> => {
    asked.push(address)
    silent.add(address)
    try {
      const { record, re } = await ctx.connect(address).call({ type: 'read', path }, { ...options, signal })
      silent.delete(address)
      return record && { record, re, relay: address.key, receivedMs: ctx.now() }
    } catch (error) {
      if (!signal.aborted) await noteTrouble(ctx.home, address.key, error, ctx.now())
      throw error
    }
  }
  const { hedgeMs, signal } = options
  const found = await race(await bestFirst(ctx.home, sources, ctx.now()), ask, { hedgeMs, signal })
  if (found === undefined) throw new MarketError('ERR_NOT_FOUND', `no relay has ${path} any more`)
  // Whoever was asked before and has not answered: the next record is not to wait for him again.
  for (const address of silent)
    if (asked.indexOf(address) < asked.findIndex(({ key }) => key === found.relay))
      await rest(ctx.home, address.key, ctx.now() + restMs.silent, ctx.now())
  // What was asked of others is not asked again.
  const others = asked.filter(({ key }) => key !== found.relay)
  await Promise.all(others.map((address) => ctx.connect(address).finishRead(path)))
  return found
}
