/** Sending as its user sees it: what it may cost, where it stands, what it is set aside for. */
import { MarketError } from '../market/errors.ts'
import type { Payload } from '../market/payload.ts'
import type { Key } from '../market/units.ts'
import type { Context } from './context.ts'
import { fileLoad } from './files/chunks.ts'
import { type FileOptions, plan } from './files/plan.ts'
import { sendFile } from './files/uploads.ts'
import { idsOf } from './home/outgoing.ts'
import { postLetter } from './mail/letters.ts'
import { outboxLimits, post, type Posted } from './mail/post.ts'
import { isFolderTag, reservedTags } from './mail/tags.ts'
import { type CostOptions, agreeBound } from './money/bound.ts'
import { contentBytes, type Load, loadOf } from './money/load.ts'
import { askAll, type Cost, type Quoted } from './money/quotes.ts'
import { reservedFor } from './money/reserved.ts'
import { chosenRelays } from './people/choice.ts'
import { relaysNamed } from './people/relays.ts'
import type { CallOptions } from './wire/connection.ts'

export interface SendOptions extends CallOptions, CostOptions {
  readonly ttlSeconds?: number | undefined
  readonly tag?: string | undefined
  readonly maxPulls?: number | undefined
  /** To how many of the own relays it goes; as many as the settings say unless it is said. What one does not take, another gets. */
  readonly keep?: number | undefined
  /** How many of them must have signed for it before it is delivered. */
  readonly quorum?: number | undefined
}

/** Where it stands, and what the relays that have it set aside for it. */
export interface Delivery extends Posted {
  readonly reserved: Cost
}

export async function send(
  ctx: Context,
  { to, payload }: { readonly to: Key; readonly payload: Payload },
  options: SendOptions,
): Promise<Delivery> {
  checkTag(options.tag)
  const { ttlSeconds = outboxLimits.ttlSeconds, tag, maxPulls, keep, quorum, ...others } = options
  const { maxCost, maxSpend, onQuote, ...call } = others
  const { relays, spares } = await chosenRelays(ctx, { keep, quorum })
  const load = loadOf([contentBytes(payload)], { ttlSeconds, maxPulls })
  const bound = await agreeBound(ctx, { relays, load }, { maxCost, maxSpend, onQuote, ...call })
  // What was allowed is for those that were asked what it costs.
  const places = { relays, spares: maxCost === undefined ? spares : [], quorum }
  const draft = { to, payload, maxPulls, ttlSeconds, ...places, bound, ...(tag && { tag }) }
  const posted = await (payload.type === 'text' ? postLetter : post)(ctx, draft, call)
  return { ...posted, reserved: await reservedFor(ctx.home, [posted.recordId]) }
}

export async function deliverFile(
  ctx: Context,
  what: { readonly to: Key; readonly path: string },
  options: FileOptions,
): Promise<Delivery> {
  checkTag(options.tag)
  const posted = await sendFile(ctx, what, options)
  return { ...posted, reserved: await reservedFor(ctx.home, await idsOf(ctx.home, posted.recordId)) }
}

function checkTag(tag: string | undefined): void {
  if (tag !== undefined && (reservedTags.includes(tag) || isFolderTag(tag)))
    throw new MarketError('ERR_MALFORMED', `the tag ${tag} has a meaning of its own`)
}

/** A record of so many content bytes, a message, or the file at a path with all its chunks. */
export type Quotable =
  | { readonly bytes: number }
  | { readonly message: string | Payload }
  | { readonly file: string }

export interface QuoteOptions extends CallOptions {
  readonly ttlSeconds?: number | undefined
  readonly maxPulls?: number | undefined
  /** One relay by address, URL or key, instead of all own ones. */
  readonly relay?: string | undefined
}

export async function quote(ctx: Context, what: Quotable, options: QuoteOptions): Promise<Quoted> {
  const relays = await relaysNamed(ctx, options.relay, options.signal)
  return askAll(ctx, { relays, load: await loadFor(ctx, what, options) }, options)
}

async function loadFor(ctx: Context, what: Quotable, options: QuoteOptions): Promise<Load> {
  if ('file' in what)
    return fileLoad(await plan(ctx, { to: ctx.wallet.identity, source: what.file }, options))
  const { ttlSeconds = outboxLimits.ttlSeconds, maxPulls } = options
  const bytes = 'bytes' in what ? what.bytes : contentBytes(payloadOf(what.message))
  return loadOf([bytes], { ttlSeconds, maxPulls })
}

export const payloadOf = (what: string | Payload): Payload =>
  typeof what === 'string' ? { type: 'text', text: what } : what
