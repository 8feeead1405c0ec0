/** A version of this copy: what the others lack goes up first, what announces it last, and what nobody needs any more goes. */
import type { Payload } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import { type Bound, entries, markDeleted, recordOf } from '../home/outbox.ts'
import { notePacks, readPacks, saveFolder, savePacks } from '../home/folders.ts'
import { Paused } from '../files/ensure.ts'
import { flush } from '../mail/flush.ts'
import { deliver, post, type Posted } from '../mail/post.ts'
import { chunkTag } from '../mail/tags.ts'
import { agreeBound, type CostOptions } from '../money/bound.ts'
import { contentBytes, loadOf } from '../money/load.ts'
import { ownRelays } from '../people/relays.ts'
import { eachLimited } from '../wire/retry.ts'
import { tagOf } from './hear.ts'
import type { Share } from './records.ts'
import { type Plan, planVersion, type Source } from './plan.ts'

const inFlight = 4

export interface PublishOptions extends CostOptions {
  readonly ttlSeconds: number
  readonly maxPulls?: number | undefined
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined
}

export interface Published {
  readonly state: 'unchanged' | 'delivered' | 'queued'
  readonly records: number
  readonly bytes: number
  /** What it is called, and all that went up with it. */
  readonly ids: readonly RecordId[]
  readonly failures: Posted['failures']
}

/**
 * Puts the folder as it is on the own relays, unless the others know it as it is. What was sent before an interruption is not
 * sent again.
 * @throws ERR_COST before anything is sent, ERR_CHANGED when a file changed meanwhile, RefusedByAll, ERR_TOO_LARGE
 */
export async function publish(share: Share, source: Source, options: PublishOptions): Promise<Published> {
  const { ctx, place, folder } = share
  const plan = await planVersion(share, source, options.ttlSeconds)
  if (plan === undefined) return { state: 'unchanged', records: 0, bytes: 0, ids: [], failures: [] }
  const bound = await agree(share, plan, options)
  const begun = { ...folder, sequence: plan.head.sequence, heads: [...folder.heads, plan.id] }
  await saveFolder(place, begun)
  await notePacks(
    place,
    plan.packs.map(({ pack }) => pack),
  )
  const sizes = plan.packs.map(({ size }) => size)
  const about = {
    records: sizes.length + 1,
    bytes: sizes.reduce((sum, size) => sum + size, 0),
    ids: [...plan.packs.map(({ pack }) => pack.id), plan.id],
  }
  try {
    await sendPacks(share, plan, { ...options, bound })
    const posted = await sendHead(share, plan, { ...options, bound })
    const { state, failures } = posted
    const until = (await entries(ctx.home)).get(plan.id)?.expires ?? 0
    const done = { ...begun, until, digest: plan.digest }
    if (state === 'queued') await saveFolder(place, done)
    else {
      await saveFolder(place, { ...done, heads: [plan.id] })
      await dropOld(share, plan)
    }
    return { ...about, state, failures }
  } catch (error) {
    if (!(error instanceof Paused)) throw error
    return { ...about, state: 'queued', failures: error.posted.failures }
  }
}

async function agree(
  share: Share,
  { packs, head }: Plan,
  options: PublishOptions,
): Promise<Bound | undefined> {
  const { ttlSeconds, maxPulls, maxCost, maxSpend, onQuote } = options
  const sizes = [...packs.map(({ size }) => contentBytes(chunk(size), size)), contentBytes(head)]
  const what = { relays: await ownRelays(share.ctx), load: loadOf(sizes, { ttlSeconds, maxPulls }) }
  return agreeBound(share.ctx, what, { maxCost, maxSpend, onQuote, ...share.options })
}

const chunk = (size: number): Payload => ({ type: 'chunk', size })

type Sending = PublishOptions & { readonly bound: Bound | undefined }

/** @throws Paused when too few relays take them */
async function sendPacks(share: Share, { id, packs, unsent }: Plan, options: Sending): Promise<void> {
  const { ctx, folder } = share
  const relays = await ownRelays(ctx)
  const { ttlSeconds, maxPulls, bound } = options
  for (const entry of unsent) {
    const record = await recordOf(ctx.home, entry)
    if (record !== undefined)
      took(await deliver(ctx, { record, relays, quorum: entry.quorum }, share.options))
  }
  const total = packs.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  await eachLimited(packs, inFlight, async ({ pack, size, read }) => {
    share.options.signal?.throwIfAborted()
    const draft = {
      to: folder.peer,
      recordId: pack.id,
      sending: id,
      tag: chunkTag,
      ttlSeconds,
      maxPulls,
      bound,
    }
    took(await post(ctx, { ...draft, payload: chunk(size), bytes: await read() }, share.options))
    done += size
    options.onProgress?.(done, total)
  })
}

function took(posted: Posted): void {
  if (posted.state === 'queued') throw new Paused(posted)
}

/** It lives no longer than what it names. */
async function sendHead(share: Share, { id, head, named }: Plan, options: Sending): Promise<Posted> {
  const { ctx, folder } = share
  const known = await entries(ctx.home)
  const ends = [...named].flatMap((one) => known.get(one)?.expires ?? [])
  const left = Math.floor((Math.min(...ends) - ctx.now()) / 1000)
  const { maxPulls, bound, ttlSeconds } = options
  const draft = { to: folder.peer, recordId: id, sending: id, payload: head, maxPulls, bound }
  const tag = tagOf(ctx.wallet.identity, folder)
  return post(ctx, { ...draft, tag, ttlSeconds: Math.max(1, Math.min(left, ttlSeconds)) }, share.options)
}

/** Deletes what announced earlier versions, and records that this one does not name. */
async function dropOld(share: Share, { id, named }: Plan): Promise<void> {
  const { ctx, place, folder } = share
  const packs = await readPacks(place)
  const known = await entries(ctx.home)
  const old = [...folder.heads, ...packs.map((pack) => pack.id)].filter(
    (one) => one !== id && !named.has(one),
  )
  const there = old.filter((one) => known.get(one)?.deleted === false)
  for (const one of there) await markDeleted(ctx.home, one)
  await savePacks(
    place,
    packs.filter((pack) => named.has(pack.id)),
  )
  if (there.length > 0) await flush(ctx, { ...share.options, attempts: 1 })
}
