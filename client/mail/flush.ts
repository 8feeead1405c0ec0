/** The queue: what could not be delivered goes up by the first command that finds the relay answering. */
import { parseAddress, type RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import type { RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { codeOf, isRetryable, isUnpaid, Refused } from '../errors.ts'
import { forget } from '../home/kept.ts'
import * as files from '../home/outbox.ts'
import { forgetUpload, outgoing, recordsOf, sendings } from '../home/outgoing.ts'
import { sparedAt } from '../home/placed-backup.ts'
import { sweepReads } from '../home/reads.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { eachLimited } from '../wire/retry.ts'
import { outboxLimits, upload } from './post.ts'

export interface FlushCall extends CallOptions {
  /** Offers again what was refused before, whatever for. */
  readonly retryRefused?: boolean
  /** Offers again what was refused because credit was missing, to each relay until it refuses one for that again. */
  readonly retryUnpaid?: boolean | undefined
  /** This relay and no other. */
  readonly only?: Key | undefined
}

/** What waits for a relay that was left is tried there for so long, where another one has it: friends may still look there. */
const leftMs = 3 * 86_400_000

/** How many records that credit was missing for a relay is offered again by one flush. */
const unpaidRetries = 500

export interface Flushed {
  readonly delivered: number
  readonly queued: number
  readonly failures: readonly { relay: string; error: Error }[]
}

/**
 * Brings the queue to the relays, carries out deletions, forgets what expired. Another process doing the same
 * makes this one leave it to it.
 */
export async function flush(ctx: Context, options: FlushCall = {}): Promise<Flushed> {
  const { home } = ctx
  const flushed = await home.tryLock('flush', () => flushAlone(ctx, options))
  return flushed ?? { delivered: 0, queued: await countQueued(ctx), failures: [] }
}

async function flushAlone(ctx: Context, options: FlushCall): Promise<Flushed> {
  const { home } = ctx
  await sweepReads(home, ctx.now())
  const all = await files.entries(home)
  const over = [...all.values()].filter((entry) => entry.expires <= ctx.now())
  await forget(home, ...over)
  await giveUpLeft(ctx, [...all.values()])
  if (options.retryRefused)
    for (const entry of all.values())
      if (entry.expires > ctx.now() && !entry.deleted) await files.requeue(home, entry.id, entry.refused)
  const book = [...(await home.retired()).map(parseAddress), ...(await ownRelays(ctx))]
  const isMeant = ({ key }: RelayAddress) => options.only === undefined || options.only === key
  const addresses = new Map(book.filter(isMeant).map((address) => [address.key, address]))
  const failures: { relay: string; error: Error }[] = []
  const partOf = [...all.values()].some(({ queued, refused }) => queued.size + refused.size > 0)
    ? await sendings(home)
    : new Map()
  let delivered = 0
  await Promise.all(
    [...addresses.values()].map(async (address) => {
      const connection = ctx.connect(address)
      const jobOf = (entry: files.Entry): Job => ({ entry, connection, sending: partOf.get(entry.id) })
      try {
        // As it is before the queue goes up: what is refused now is not offered twice.
        const unpaid = options.retryUnpaid ? await unpaidAt(home, address.key) : []
        await eachLimited(await jobsAt(home, address.key), outboxLimits.inFlight, async (entry) => {
          if (await carryOut(ctx, jobOf(entry), options)) delivered += 1
        })
        for (const entry of unpaid) {
          await files.requeue(home, entry.id, [address.key])
          if (!(await carryOut(ctx, jobOf(entry), options))) break
          delivered += 1
        }
      } catch (error) {
        failures.push({ relay: address.url, error: error as Error })
      }
    }),
  )
  options.signal?.throwIfAborted()
  return { delivered, queued: await countQueued(ctx), failures }
}

/** The last word to friends on a relay that is gone for good would wait for it until it expires. */
async function giveUpLeft(ctx: Context, all: readonly files.Entry[]): Promise<void> {
  const own = new Set((await ownRelays(ctx)).map(({ key }) => key))
  for (const entry of all) {
    const left = entry.accepted.size === 0 ? [] : [...entry.queued].filter((key) => !own.has(key))
    if (left.length === 0) continue
    const record = await files.recordOf(ctx.home, entry).catch(() => undefined) // damaged: that is told elsewhere
    if (record === undefined || record.msg.timestamp + leftMs > ctx.now()) continue
    for (const relay of left) await files.unqueue(ctx.home, entry.id, relay)
  }
}

async function jobsAt(home: Context['home'], relay: Key): Promise<files.Entry[]> {
  const all = await files.entries(home)
  const spared = await sparedAt(home, all, relay)
  return [...all.values()].filter((entry) =>
    entry.deleted
      ? touched(entry).has(relay) && !entry.gone.has(relay) && !spared.has(entry.id)
      : entry.queued.has(relay),
  )
}

/** What the relay refused because credit was missing: it waits for that as the queue waits for the relay. */
async function unpaidAt(home: Context['home'], relay: Key): Promise<files.Entry[]> {
  const unpaid: files.Entry[] = []
  for (const entry of (await files.entries(home)).values()) {
    if (unpaid.length >= unpaidRetries) break
    if (entry.deleted || !entry.refused.has(relay)) continue
    const refusal = await files.refusalOf(home, entry.id, relay)
    if (refusal?.code === 'ERR_PAYMENT_REQUIRED') unpaid.push(entry)
  }
  return unpaid
}

/** Relays that may hold the record: also those that never answered may have stored it. */
const touched = ({ accepted, queued }: files.Entry): Set<Key> => new Set([...accepted, ...queued])

/** What the queue says of one record and one relay. */
interface Job {
  readonly entry: files.Entry
  readonly connection: Connection
  readonly sending: RecordId | undefined
}

/** True when a record was delivered. @throws what makes further attempts at this relay pointless for now */
async function carryOut(ctx: Context, job: Job, options: CallOptions): Promise<boolean> {
  const { entry, connection, sending } = job
  const { key, url } = connection.address
  try {
    if (entry.deleted) {
      const { evidence } = await connection.call({ type: 'delete', recordId: entry.id }, options)
      await files.keepGone(ctx.home, { id: entry.id, relay: key }, evidence)
      return false
    }
    const record = await files.recordOf(ctx.home, entry)
    if (record !== undefined) await upload(ctx, { record, connection, sending }, options)
    return record !== undefined
  } catch (error) {
    if (codeOf(error) === 'ERR_DAMAGED') {
      ctx.notify({ type: 'damaged', error: error as Error })
      return false
    }
    const isNo = error instanceof Refused && !isRetryable(error)
    if (isNo && error.signed && !isUnpaid(error)) return false // kept with the entry
    if (!isNo && !waits.includes(codeOf(error) ?? '')) throw error
    // Of this record only: it waits, for the user where a relay signed its no; and what is behind it goes on.
    ctx.notify({ type: 'relay-failed', relay: url, error: error as Error })
    return false
  }
}

/** What stops one record and says nothing of the next. */
const waits = ['ERR_UNSUPPORTED', 'ERR_COST']

async function countQueued({ home, now }: Context): Promise<number> {
  const all = [...(await files.entries(home)).values()]
  return all.filter((entry) => !entry.deleted && entry.queued.size > 0 && entry.expires > now()).length
}

/**
 * Deletes a record of ours, a file with all its chunks, everywhere it may be: now where relays answer, else as
 * soon as they do.
 * @throws ERR_NOT_FOUND for what is not in the outbox
 */
export async function deleteRecord(ctx: Context, id: RecordId, options: CallOptions = {}): Promise<Flushed> {
  const { home } = ctx
  const transfer = (await outgoing(home)).find((one) => one.id === id)
  const known = await files.entries(home)
  const ids = (transfer === undefined ? [id] : recordsOf(transfer)).filter((one) => known.has(one))
  if (ids.length === 0 && transfer === undefined)
    throw new MarketError('ERR_NOT_FOUND', `there is no record ${id} in the outbox`)
  for (const one of ids) await files.markDeleted(home, one)
  if (transfer?.state === 'sending') await forgetUpload(home, id)
  return flush(ctx, options)
}
