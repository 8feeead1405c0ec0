/** One record of a file on its way: made once, kept, and given to the relays that take it. */
import type { RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import type { Payload } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { BrokenWord, isUnpaid, Refused } from '../errors.ts'
import { type Entry, keepRefusal, recordOf } from '../home/outbox.ts'
import type { Outgoing } from '../home/outgoing.ts'
import { deliver, type Draft, post, type Posted } from '../mail/post.ts'
import { placesOf } from './plan.ts'
import type { TransferOptions } from './transfer.ts'

/** One run of a sending. */
export interface Job {
  readonly ctx: Context
  readonly transfer: Outgoing
  readonly options: TransferOptions
  /** The outbox as it was at the start: who holds the transfer's lock is alone with its records. */
  readonly known: ReadonlyMap<RecordId, Entry>
  /** The first no of each relay to what others took: from there on its copy has holes. */
  readonly refusals: Map<string, Posted['failures'][number]>
}

/** No relay takes chunks now: going on would only fill the disk. */
export class Paused extends Error {
  readonly posted: Posted

  constructor(posted: Posted) {
    super('no relay answers')
    this.posted = posted
  }
}

/** One failure for each relay. */
export function withRefusals(posted: Posted, { refusals }: Job): Posted {
  const others = posted.failures.filter(({ relay }) => !refusals.has(relay))
  return { ...posted, failures: [...refusals.values(), ...others] }
}

/** @throws Paused when too few relays took it */
export function took({ refusals }: Job, posted: Posted): void {
  if (posted.state === 'queued') throw new Paused(posted)
  for (const failure of posted.failures) {
    const { relay, error } = failure
    if (error instanceof Refused && error.signed && !refusals.has(relay)) refusals.set(relay, failure)
  }
}

/** How long what names the chunks may live: the oldest chunk is as old as the sending. Below 1 it is over. */
export const secondsLeft = ({ now }: Context, transfer: Outgoing): number =>
  Math.floor((endOf(transfer) - now()) / 1000)
export const endOf = ({ createdMs, ttlSeconds }: Outgoing): number => createdMs + ttlSeconds * 1000

type Content = { payload: Payload; bytes?: Uint8Array; tag?: string; ttlSeconds?: number }

/** @throws BrokenWord when that is why no relay takes the record */
export async function ensure(job: Job, id: RecordId, content: () => Content): Promise<Posted> {
  const posted = await ensureOnce(job, id, content)
  const isBroken = posted.failures.every(({ error }) => error instanceof BrokenWord)
  if (posted.state === 'queued' && posted.failures.length > 0 && isBroken) throw posted.failures[0]!.error
  return posted
}

/** A record of this sending exists once: what an earlier run sealed is delivered, not sealed again. */
async function ensureOnce(job: Job, id: RecordId, content: () => Content): Promise<Posted> {
  const { ctx, transfer, options, known } = job
  const { quorum = ctx.quorum } = transfer
  const entry = known.get(id)
  const record = entry && (await recordOf(ctx.home, entry))
  if (entry === undefined || record === undefined) {
    const { to, tag, maxPulls, source, bound } = transfer
    const ttlSeconds = secondsLeft(ctx, transfer)
    if (ttlSeconds < 1)
      throw new MarketError('ERR_EXPIRED', `the sending of ${source} took longer than it was to live`)
    const draft = {
      to,
      recordId: id,
      sending: transfer.id,
      tag,
      ttlSeconds,
      maxPulls: maxPulls ?? undefined,
      bound,
      quorum: transfer.quorum,
      ...content(),
    }
    return postWhereCredit(job, draft)
  }
  const accepted = [...entry.accepted]
  if (accepted.length >= quorum)
    return { recordId: id, path: record.path, state: 'delivered', accepted, failures: [] }
  return deliver(ctx, { record, ...(await placesOf(ctx, transfer)), quorum, sending: transfer.id }, options)
}

/** A relay that had no credit for one record is not sent all others only to refuse them; `retryRefused` asks it again. */
async function postWhereCredit(
  { ctx, transfer, options, refusals }: Job,
  draft: Draft & { recordId: RecordId },
) {
  const { relays: own, spares } = await placesOf(ctx, transfer)
  const isDry = ({ url }: RelayAddress) => isUnpaid(refusals.get(url)?.error)
  const relays = own.filter((relay) => !isDry(relay))
  if (relays.length === 0) return post(ctx, { ...draft, relays: own }, options) // each for another record: now all for one
  const others = draft.bound === undefined ? spares.filter((relay) => !isDry(relay)) : []
  const posted = await post(ctx, { ...draft, relays, spares: others }, options)
  for (const relay of own.filter(isDry)) {
    const message = `${relay.url} had no credit for what came before`
    const place = { id: draft.recordId, relay: relay.key }
    await keepRefusal(ctx.home, place, { code: 'ERR_PAYMENT_REQUIRED', message })
  }
  return posted
}
