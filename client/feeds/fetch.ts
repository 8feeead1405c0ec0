/** Posts from whichever relay has them: each is read once, and what one relay does not give comes from the next. */
import type { RelayAddress } from '../../market/address.ts'
import type { SealedRecord } from '../../market/record.ts'
import type { Hash } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { isUnpaid } from '../errors.ts'
import type { GonePost } from '../home/feeds.ts'
import { bestFirst, noteTrouble } from '../home/redundancy.ts'
import type { CallOptions } from '../wire/connection.ts'

/** Where a post may be had; asked in this order, but for those in trouble. */
export interface Wanted {
  readonly path: string
  readonly relays: readonly RelayAddress[]
}

/** `failed`: a relay that may have it did not say. */
export type Fetched =
  | { readonly state: 'here'; readonly record: SealedRecord; readonly relay: RelayAddress; readonly re: Hash }
  | { readonly state: 'gone'; readonly why: Exclude<GonePost['why'], 'too large'> }
  | { readonly state: 'failed'; readonly error: Error }

/** What became of each, in their order. */
export async function fetchPosts(
  ctx: Context,
  wanted: readonly Wanted[],
  options: CallOptions,
): Promise<Fetched[]> {
  const found: Fetched[] = wanted.map(() => ({ state: 'gone', why: 'gone' }))
  const sorted = wanted.map(({ relays }) => bestFirst(ctx.home, relays, ctx.now()))
  const sources = await Promise.all(sorted)
  let open = wanted.map((_, index) => index)
  for (let round = 0; open.length > 0; round++) {
    open = open.filter((index) => round < sources[index]!.length)
    const byRelay = new Map<RelayAddress, number[]>()
    for (const index of open) {
      const relay = sources[index]![round]! // as it was filtered
      byRelay.set(relay, [...(byRelay.get(relay) ?? []), index])
    }
    await Promise.all(
      [...byRelay].map(async ([relay, indices]) => {
        const reads = indices.map((index) => ({ type: 'read' as const, path: wanted[index]!.path }))
        const outcomes = await ctx.connect(relay).callBatch(reads, options)
        const failed = outcomes.find((outcome) => 'error' in outcome)
        if (failed !== undefined && options.signal?.aborted !== true)
          await noteTrouble(ctx.home, relay.key, failed.error, ctx.now())
        for (const [place, index] of indices.entries())
          found[index] = better(found[index]!, fetchedOf(outcomes[place]!, relay)) // one for each
      }),
    )
    options.signal?.throwIfAborted()
    open = open.filter((index) => found[index]!.state !== 'here')
  }
  return found
}

function fetchedOf(
  outcome: Awaited<ReturnType<ReturnType<Context['connect']>['callBatch']>>[number],
  relay: RelayAddress,
): Fetched {
  // As key 1 nobody pays: what relays say to a read like that is that the owner's pulls are used up (§4.3).
  if ('error' in outcome)
    return isUnpaid(outcome.error)
      ? { state: 'gone', why: 'used up' }
      : { state: 'failed', error: outcome.error }
  const { answer } = outcome
  if (!('record' in answer) || answer.record === undefined) return { state: 'gone', why: 'gone' }
  return { state: 'here', record: answer.record, relay, re: answer.re }
}

/** One relay that did not say leaves it open whether the post is gone; one that has it settles it. */
function better(before: Fetched, now: Fetched): Fetched {
  if (now.state === 'here' || before.state !== 'gone') return now.state === 'here' ? now : before
  return before.why === 'used up' && now.state === 'gone' ? before : now
}
