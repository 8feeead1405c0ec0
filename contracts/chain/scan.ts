/** Reading the chain block by block: in bounded steps that go on where the last one stopped, and back where it forked. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { type BlockTransaction, readBlock } from '../transaction/block.ts'
import { type BlockAt, type Chain, Place } from './chain.ts'

export const scanLimits = {
  /** Read in one step unless told otherwise. */
  blocks: 100,
  /** Places of a trail that follow on each other; further ones lie ever further apart. */
  denseTrail: 12,
  trail: 80,
  /** How far below its oldest place a trail is taken up again when even that one is not in the best chain any more. */
  lostBlocks: 1000,
} as const

/**
 * What has been read: the newest block first, then others below it, by which a fork is found. Plain JSON, to be kept
 * beside what was found, and replaced together with it.
 */
export const Trail = z.array(Place).min(1).max(scanLimits.trail).readonly()
export type Trail = z.infer<typeof Trail>

export interface Found extends BlockTransaction {
  readonly place: Place
}

export interface Visitor {
  /** Each transaction of each block, in their order. After a crash or a fork, some are seen again. */
  visit(found: Found): Promise<void> | void
  /** Before anything else is visited: what was found above this place is not in the best chain any more. */
  fork?(place: Place): Promise<void> | void
}

export interface Step {
  /** Where the next step goes on. */
  readonly trail: Trail
  /** The deepest place that was gone back to, if it was. */
  readonly forkedAt?: Place
  /** Whether there was nothing more to read. */
  readonly isAtTip: boolean
}

/** The trail of a reader whose first block is the one at `height`, or the next one when there is none yet. */
export async function trailFrom(chain: Chain, height: number): Promise<Trail> {
  demandBlocks(chain)
  const place = await chain.placeAt(Math.max(0, height - 1))
  return [place ?? placeOf(await chain.tip())]
}

/**
 * Reads the next blocks, at most `blocks`. What the visitor keeps may be kept together with the trail that is returned,
 * or at once: visiting is repeated, never skipped.
 * @throws ERR_CHAIN_UNAVAILABLE also where blocks cannot be read, or one is larger than can be read
 */
export async function scan(
  chain: Chain,
  trail: Trail,
  visitor: Visitor,
  { blocks = scanLimits.blocks }: { blocks?: number } = {},
): Promise<Step> {
  demandBlocks(chain)
  let at = trail
  let forkedAt: Place | undefined
  for (let left = blocks; left > 0; left--) {
    const block = await chain.block(headOf(at).height + 1)
    // What stands on the head proves that the head still stands.
    if (block !== undefined && (await visitBlock(block, headOf(at), visitor))) {
      at = extend(at, placeOf(block))
      continue
    }
    const below = await standing(chain, at)
    if (below[0] !== at[0]) {
      at = below
      const place = headOf(at)
      forkedAt = forkedAt !== undefined && forkedAt.height < place.height ? forkedAt : place
      await visitor.fork?.(place)
    } else if (block === undefined) return stepOf(at, forkedAt, true)
    // Else the chain has forked and come back between the two questions: the next round asks again.
  }
  return stepOf(at, forkedAt, false)
}

const stepOf = (trail: Trail, forkedAt: Place | undefined, isAtTip: boolean): Step => ({
  trail,
  ...(forkedAt && { forkedAt }),
  isAtTip,
})

/** @returns whether the block stands on `previous`; else nothing of it was visited */
async function visitBlock(block: BlockAt, previous: Place, visitor: Visitor): Promise<boolean> {
  const { header, transactions } = readBlock(block.bytes)
  if (header.previous !== previous.hash) return false
  const place = placeOf(block)
  for (const found of transactions) await visitor.visit({ ...found, place })
  return true
}

/** The part of a trail that is in the best chain: the fork lies at its head or up to a gap of the trail above it. */
async function standing(chain: Chain, trail: Trail): Promise<Trail> {
  for (const [index, place] of trail.entries()) {
    if ((await chain.placeAt(place.height))?.hash === place.hash) return trail.slice(index)
  }
  const deepest = trail.at(-1)! // a trail has a place
  const place = await chain.placeAt(Math.max(0, deepest.height - scanLimits.lostBlocks))
  return [place ?? placeOf(await chain.tip())]
}

/** With the newest ones close together, and the distance doubling from place to place below. */
function extend(trail: Trail, place: Place): Trail {
  const kept: Place[] = [place, ...trail.slice(0, scanLimits.denseTrail - 1)]
  for (const candidate of trail.slice(scanLimits.denseTrail - 1)) {
    const [above, below] = [kept.at(-1)!, trail[trail.indexOf(candidate) + 1]] // not empty
    const depth = place.height - above.height
    // Left out when the one below it is near enough to stand for both.
    if (below !== undefined && above.height - below.height <= depth) continue
    kept.push(candidate)
  }
  return kept
}

const headOf = (trail: Trail): Place => trail[0]! // a trail has a place
const placeOf = ({ height, hash }: Place): Place => ({ height, hash })

function demandBlocks(chain: Chain): void {
  if (!chain.canScan)
    throw new MarketError('ERR_CHAIN_UNAVAILABLE', `${chain.name} does not show its blocks: only a node does`)
}
