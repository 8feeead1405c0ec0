/**
 * Whether a relay still has what it signed for: its own list against the receipts in the outbox, and proofs of storage. What it
 * signs to either is kept, and an audit makes evidence of it (docs/protocol.md §4.6, §4.10).
 */
import { checkProof } from '../../contracts/audit/proof.ts'
import type { Receipt } from '../../contracts/receipt.ts'
import type { RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { parsePath, type RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { codeOf } from '../errors.ts'
import { entries, proofsOf } from '../home/outbox.ts'
import { noteTrouble, rest, restMs } from '../home/redundancy.ts'
import { provable } from '../money/audit.ts'
import { challenge } from '../money/audit-proofs.ts'
import { relaysNamed } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'
import { recordsAt } from './listing.ts'

export const checkLimits = {
  /** Challenges to each relay unless the user says how many: of what it lists, and as many of what it does not. */
  proofs: 3,
} as const

export interface CheckOptions extends CallOptions {
  /** Of what a relay lists, so many records must be proven to be there; and of what it does not list. */
  readonly prove?: number | undefined
}

/**
 * `whole`: it lists everything, and proved what was asked for. `incomplete`, `emptied`: it does not list some, or any, of what
 * it signed for. `lying`: it lists what it cannot prove, or contradicts itself. `silent`: it was not reached, or refused.
 */
export type Health = 'whole' | 'incomplete' | 'emptied' | 'lying' | 'silent'

export interface Checked {
  readonly relay: RelayAddress
  readonly health: Health
  /** Records of ours that it must hold, by receipts which are paid for, and … */
  readonly expected: number
  /** … those that it does not list. */
  readonly missing: readonly RecordId[]
  /** Those that it lists, and signed that it does not have, or proved wrongly. */
  readonly failed: readonly RecordId[]
  /** Challenges that it answered. */
  readonly proofs: number
  /** What waits to be brought there. */
  readonly queued: number
  /** What it lists and this home does not know: of another device, or of before. */
  readonly unknown: number
  readonly error?: Error
}

/** Checks the own relays, or the one that is named, all at once. What fails stands in a relay's place. */
export async function checkRelays(
  ctx: Context,
  reference: string | undefined,
  options: CheckOptions = {},
): Promise<Checked[]> {
  const relays = await relaysNamed(ctx, reference, options.signal)
  const all = await Promise.all(relays.map((relay) => checkRelay(ctx, relay, options)))
  options.signal?.throwIfAborted()
  return all
}

export async function checkRelay(
  ctx: Context,
  relay: RelayAddress,
  options: CheckOptions = {},
): Promise<Checked> {
  const none = { missing: [], failed: [], proofs: 0, unknown: 0 }
  const queued = [...(await entries(ctx.home)).values()].filter((entry) => entry.queued.has(relay.key)).length
  const connection = ctx.connect(relay)
  let expected = 0
  try {
    // Before the list: what is written meanwhile is not missed.
    const receipts = await provable(ctx, connection)
    expected = receipts.length
    const listed = await recordsAt(ctx, connection, options)
    const known = await entries(ctx.home)
    const isMissing = ({ path }: Receipt) => {
      const entry = known.get(parsePath(path).recordId)
      return entry !== undefined && !entry.deleted && !listed.has(entry.id)
    }
    const lacking = receipts.filter(isMissing)
    const there = receipts.filter((receipt) => !lacking.includes(receipt))
    const count = options.prove ?? checkLimits.proofs
    const call = { signal: options.signal, count }
    // A signed no to these is what an audit shows to others.
    const denied = await challenge(ctx, connection, { receipts: lacking, ...call })
    const proofs = denied + (await challenge(ctx, connection, { receipts: there, ...call }))
    const failed = await failedOf(ctx, relay, there)
    const missing = lacking.map(({ path }) => parsePath(path).recordId)
    const unknown = [...listed].filter((id) => !known.has(id)).length
    const health = healthOf({ expected, missing: missing.length, failed: failed.length })
    if (health === 'lying') await rest(ctx.home, relay.key, ctx.now() + restMs.lying, ctx.now())
    return { relay, health, expected, missing, failed, proofs, queued, unknown }
  } catch (error) {
    options.signal?.throwIfAborted()
    await noteTrouble(ctx.home, relay.key, error, ctx.now())
    const health = codeOf(error) === 'ERR_UNTRUSTED' ? 'lying' : 'silent'
    return { relay, health, expected, queued, ...none, error: error as Error }
  }
}

function healthOf({
  expected,
  missing,
  failed,
}: {
  expected: number
  missing: number
  failed: number
}): Health {
  if (failed > 0) return 'lying'
  if (missing === 0) return 'whole'
  return missing === expected ? 'emptied' : 'incomplete'
}

/** Those of which a proof has failed under the receipt of now. */
async function failedOf(
  ctx: Context,
  { key: relay }: RelayAddress,
  receipts: readonly Receipt[],
): Promise<RecordId[]> {
  const known = await entries(ctx.home)
  const failed: RecordId[] = []
  for (const receipt of receipts) {
    const entry = known.get(parsePath(receipt.path).recordId)
    if (entry === undefined || entry.deleted) continue
    const of = { relay, owner: ctx.wallet.identity }
    for (const { asked, text } of await proofsOf(ctx.home, entry, relay)) {
      if (asked === undefined || text === undefined || failed.includes(entry.id)) continue
      if (isFailed({ request: asked, reply: text }, receipt, of)) failed.push(entry.id)
    }
  }
  return failed
}

/** What is not what it should be accuses nobody. */
function isFailed(...proof: Parameters<typeof checkProof>): boolean {
  try {
    return checkProof(...proof).outcome === 'failed'
  } catch (error) {
    if (!(error instanceof MarketError)) throw error
    return false
  }
}
