/** Writing: a record is sealed and kept once, then given to every own relay, now or whenever one answers. */
import { randomBytes } from 'node:crypto'
import type { Request } from '../../contracts/api.ts'
import { checkReceipt } from '../../contracts/receipt.ts'
import type { RelayAddress } from '../../market/address.ts'
import { toBase64 } from '../../market/bytes.ts'
import { seal } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { encodePayload, type Payload } from '../../market/payload.ts'
import { decodeRecord, type RecordId, type SealedRecord } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { BrokenWord, ClientError, codeOf, isRetryable, Refused, RefusedByAll } from '../errors.ts'
import { withPayment } from '../escrow/paying.ts'
import { forget } from '../home/kept.ts'
import { checkBearer } from '../home/contracts.ts'
import * as files from '../home/outbox.ts'
import { noteTrouble } from '../home/redundancy.ts'
import { checkBound } from '../money/bound.ts'
import { checkWord, holdToWord, type Upload } from '../money/word.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'

export const outboxLimits = {
  ttlSeconds: 7 * 86_400,
  /** A bare record older than this goes up inside a `store`; relays take bare ones up to 120 s. */
  bareMs: 60_000,
  /** What slower relays get once enough have accepted; then their copy waits in the queue. */
  stragglerMs: 3_000,
  inFlight: 4,
} as const

export interface Draft {
  readonly to: Key
  readonly payload: Payload
  readonly bytes?: Uint8Array
  readonly tag?: string
  readonly ttlSeconds?: number
  readonly maxPulls?: number | undefined
  readonly recordId?: RecordId
  /** The id of the file it is part of. */
  readonly sending?: RecordId
  /** Other relays than the own ones of now. */
  readonly relays?: readonly RelayAddress[]
  /** Each takes the place of one that does not take the record, so that as many as `relays` have it. */
  readonly spares?: readonly RelayAddress[] | undefined
  /** How many must sign for it; as many as the settings say unless it is said. */
  readonly quorum?: number | undefined
  /** The most that may be spent on it, now and later. */
  readonly bound?: files.Bound | undefined
  /** Hears of the record before it is promised to be sent. */
  readonly onSealed?: ((record: SealedRecord) => Promise<void>) | undefined
}

/** Where a record stands after an attempt. `delivered`: a quorum of relays signed for it. `queued`: kept, to be tried again. */
export interface Posted {
  readonly recordId: RecordId
  readonly path: string
  readonly state: 'delivered' | 'queued'
  readonly accepted: readonly Key[]
  readonly failures: readonly { relay: string; error: Error }[]
}

export const newRecordId = (): RecordId => randomBytes(16).toString('hex')

/**
 * Seals, keeps and delivers a record. Once it is sealed it is not lost: it is delivered, or queued.
 * @throws RefusedByAll when every relay refuses it for good; then it is not kept
 */
export async function post(ctx: Context, draft: Draft, options: CallOptions = {}): Promise<Posted> {
  const relays = draft.relays ?? (await ownRelays(ctx))
  if (relays.length === 0)
    throw new MarketError('ERR_CONFLICT', 'you have no relay to put records on: add one with relays add')
  await checkOffered(ctx, relays, draft)
  const record = await sealRecord(ctx, draft, relays)
  const { spares, quorum, sending, bound } = draft
  await draft.onSealed?.(record)
  await files.keep(ctx.home, record, { relays: relays.map(({ key }) => key), bound, quorum })
  return deliver(ctx, { record, relays, spares, quorum, sending }, options)
}

/**
 * A record has one text for all its relays, so what one of them does not offer cannot go into it. Relays that do not
 * answer have no say now: they are asked when it goes up.
 * @throws ERR_UNSUPPORTED
 */
async function checkOffered(
  ctx: Context,
  relays: readonly RelayAddress[],
  { maxPulls }: Draft,
): Promise<void> {
  if (maxPulls === undefined) return
  await Promise.all(
    relays.map(async (relay) => {
      const info = await ctx
        .connect(relay)
        .info()
        .catch(() => undefined)
      if (info !== undefined && !info.features.includes('maxPulls'))
        throw new ClientError('ERR_UNSUPPORTED', `${relay.url} does not offer maxPulls`)
    }),
  )
}

async function sealRecord(
  ctx: Context,
  draft: Draft,
  relays: readonly RelayAddress[],
): Promise<SealedRecord> {
  const { to, payload, bytes, tag = '', maxPulls } = draft
  const recordId = draft.recordId ?? newRecordId()
  const content = await ctx.wallet.encrypt(encodePayload(payload, bytes), { recordId, counterparty: to })
  const request = {
    type: 'write' as const,
    recordId,
    ttl: draft.ttlSeconds ?? outboxLimits.ttlSeconds,
    tag,
    content: toBase64(content),
    relays: relays.map(({ key }) => key),
    ...(maxPulls !== undefined && { maxPulls }),
  }
  // Decoded again, so that nothing is kept that a relay would call malformed.
  return decodeRecord((await seal({ to, timestamp: ctx.now(), request }, ctx.wallet)).text)
}

/** Gives a kept record to these relays at once. @throws RefusedByAll when all of them refuse it for good */
export async function deliver(
  ctx: Context,
  what: Omit<Upload, 'connection'> &
    Pick<Draft, 'spares' | 'quorum'> & { readonly relays: readonly RelayAddress[] },
  options: CallOptions = {},
): Promise<Posted> {
  const { record, relays, spares = [], quorum = ctx.quorum, sending } = what
  const { recordId } = record.msg.request
  const accepted: Key[] = []
  const failures: { relay: string; error: Error }[] = []
  const give = async (relay: RelayAddress, signal: AbortSignal) => {
    try {
      await upload(ctx, { record, sending, connection: ctx.connect(relay) }, { ...options, signal })
      accepted.push(relay.key)
    } catch (error) {
      failures.push({ relay: relay.url, error: error as Error })
      if (options.signal?.aborted !== true) await noteTrouble(ctx.home, relay.key, error, ctx.now())
    }
  }
  const giveAll = async (some: readonly RelayAddress[]) => {
    const stragglers = new AbortController()
    const signal = AbortSignal.any([stragglers.signal, ...(options.signal ? [options.signal] : [])])
    let timer: NodeJS.Timeout | undefined
    const hurry = () => {
      if (accepted.length >= quorum)
        timer ??= setTimeout(() => stragglers.abort(tooSlow), outboxLimits.stragglerMs)
    }
    hurry()
    await Promise.all(some.map((relay) => give(relay, signal).then(hurry)))
    clearTimeout(timer)
  }
  await giveAll(relays)
  const left = [...spares]
  while (accepted.length < relays.length && left.length > 0 && options.signal?.aborted !== true) {
    const some = left.splice(0, relays.length - accepted.length)
    // Noted before it is sent: an answer that is lost is asked for again.
    for (const { key } of some) await files.requeue(ctx.home, recordId, [key])
    await giveAll(some)
  }
  options.signal?.throwIfAborted()
  const final = failures.map(({ error }) => error).filter(isFinal)
  if (accepted.length === 0 && final.length === failures.length) {
    await forgetRecord(ctx, recordId)
    throw new RefusedByAll(final)
  }
  const state = accepted.length >= quorum ? 'delivered' : 'queued'
  return { recordId, path: record.path, state, accepted, failures }
}

async function forgetRecord({ home }: Context, id: RecordId): Promise<void> {
  const entry = (await files.entries(home)).get(id)
  if (entry !== undefined) await forget(home, entry)
}

const tooSlow = new ClientError('ERR_UNREACHABLE', 'did not answer as fast as the others; its copy is queued')

/**
 * Puts a record on one relay and keeps what the relay signed for it, or why it does not want it.
 * @throws ERR_COST while the relay asks for more than the record's bound leaves it, BrokenWord when it took too much
 * for an earlier record of the same sending
 */
export async function upload(ctx: Context, job: Upload, options: CallOptions): Promise<void> {
  const { record, connection } = job
  const place = { id: record.msg.request.recordId, relay: connection.address.key }
  try {
    await checkWord(ctx, job)
    const bound = await checkBound(ctx, job, options)
    const offer = ctx.prices.offerOf(connection)
    const write = () => writeOrStore(ctx, job, options)
    const payee = { recordId: place.id, maxSpend: bound?.maxSpend }
    const { reply, evidence } = await withPayment(ctx, connection, write, payee)
    // Nothing arrives before it was sealed; `now` is the relay's own, as it last signed it.
    const { now } = connection.clock
    checkReceipt(reply.receipt, record, { firstSent: Math.min(record.msg.timestamp, now), now })
    await checkBearer(ctx.home, place.relay, reply.receipt)
    // Before the receipt: what it proves must not be forgotten by a crash.
    await holdToWord(ctx, job, { receipt: reply.receipt, offer, bound })
    await files.keepReceipt(ctx.home, place, evidence)
  } catch (error) {
    if (error instanceof BrokenWord) {
      await files.keepRefusal(ctx.home, place, { code: 'ERR_CONFLICT', message: error.message })
    } else if (isFinal(error)) {
      await files.keepRefusal(ctx.home, place, { code: error.code, message: error.message })
    }
    throw error
  }
}

/** A bare `write` is only for fresh records and relays they name; everything else is our own request to `store` it. */
async function writeOrStore(ctx: Context, { record, connection }: Upload, options: CallOptions) {
  const { timestamp, request } = record.msg
  const isBare =
    ctx.now() - timestamp < outboxLimits.bareMs && request.relays.includes(connection.address.key)
  if (isBare) {
    try {
      return await connection.write(record, options)
    } catch (error) {
      if (!(error instanceof Refused) || codeOf(error) !== 'ERR_STALE') throw error
    }
  }
  const store: Extract<Request, { type: 'store' }> = { type: 'store', record: { msg: record.msg } }
  return connection.call(store, options)
}

/** A refusal that trying again does not change. Unsigned it may be anybody's, and the record waits. */
const isFinal = (error: unknown): error is Refused =>
  error instanceof Refused && error.signed && !isRetryable(error) && error.code !== 'ERR_BAD_SIGNATURE'
