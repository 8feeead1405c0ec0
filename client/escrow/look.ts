/** What the chain shows of a contract: asked of known transactions, and looked for in blocks where nobody tells. */
import type { Chain, Place, TransactionStatus } from '../../contracts/chain/chain.ts'
import type { Trail } from '../../contracts/chain/scan.ts'
import { findSpender, type Spender } from '../../contracts/chain/spender.ts'
import { deepBlocks } from '../../contracts/escrow/amounts.ts'
import { type Contract, endOf } from '../../contracts/escrow/contract.ts'
import type { ChainLook, Spend } from '../../contracts/escrow/machine.ts'
import { readFunding } from '../../contracts/escrow/messages.ts'
import { contractIdOf } from '../../contracts/escrow/terms.ts'
import {
  type Outpoint,
  serializeOutput,
  serializeTransaction,
  type Transaction,
} from '../../contracts/transaction/transaction.ts'
import { equal, fromHex, toHex } from '../../market/bytes.ts'
import { codeOf } from '../errors.ts'
import { keptContract, type KeptContract, termsOf } from '../home/contracts.ts'
import { madeBefore, parseRaw, rawTxid, save } from './funding.ts'
import { contractAt, type Site } from './site.ts'

const lookLimits = {
  /** Of 100 blocks, in one look; the next one goes on. */
  steps: 50,
} as const

export interface Looked {
  /** With what was found, on disk. */
  readonly kept: KeptContract
  readonly look: ChainLook
}

/** @throws ERR_CHAIN_UNAVAILABLE */
export async function look(site: Site, given: KeptContract): Promise<Looked> {
  const chain = await site.chain()
  const funded = await lookForFunding(site, chain, given)
  const { kept, depth } = funded
  if (depth === undefined) return { kept, look: await lookAtStakes(site, chain, kept) }
  const txid = rawTxid(kept.funding!) // it has a depth
  const joint = { txid, depth }
  const renewal = await renewalOf(site, chain, kept)
  const ended = await lookForSpend(site, chain, { kept, joint: { txid, vout: 0 }, next: renewal?.next })
  return { kept: ended.kept, look: { joint, ...renewal?.look, ...(ended.spend && { spend: ended.spend }) } }
}

const depthOf = (status: TransactionStatus): number | undefined =>
  status.state === 'unknown' ? undefined : status.state === 'mined' ? status.depth : 0

const depthOfRaw = async (chain: Chain, raw: string | null): Promise<number | undefined> =>
  raw === null ? undefined : depthOf(await chain.status(rawTxid(raw)))

async function lookForFunding(
  site: Site,
  chain: Chain,
  kept: KeptContract,
): Promise<{ kept: KeptContract; depth: number | undefined }> {
  const depth = await depthOfRaw(chain, kept.funding)
  if (depth !== undefined) return { kept, depth }
  // Who signs last, or a miner, chooses its txid: it is known by what it spends and pays.
  const stake = kept.stake?.funding.stakes[0]
  if (stake !== undefined && (await chain.isUnspent(stake)) !== true) {
    const { spender, from } = await spenderOf(chain, stake, kept.from)
    if (spender !== undefined && isFunding(await contractAt(site, termsOf(kept)), spender.transaction)) {
      const funding = toHex(serializeTransaction(spender.transaction))
      return { kept: await save(site, { ...kept, funding, from }), depth: depthOf(spender.status) }
    }
  }
  // What is taken back is not sent again.
  return { kept, depth: kept.state.state === 'cancelling' ? undefined : await sendAgain(chain, kept.funding) }
}

/** Of what spends our stake, only what we signed has this output. */
const isFunding = ({ joint }: Contract, { outputs: [first] }: Transaction): boolean =>
  first !== undefined && equal(serializeOutput(first), serializeOutput(joint))

/** What fell out of a mempool comes back. @returns its depth then */
async function sendAgain(chain: Chain, raw: string | null): Promise<number | undefined> {
  if (raw === null) return undefined
  try {
    await chain.broadcast(fromHex(raw))
  } catch (error) {
    if (codeOf(error) !== 'ERR_TRANSACTION_REFUSED') throw error
    return undefined
  }
  return (await depthOfRaw(chain, raw)) ?? 0 // taken, and not shown yet
}

/** Without a funding: whether our stake is back or free, or another one gone, so that there will never be one. */
async function lookAtStakes(site: Site, chain: Chain, given: KeptContract): Promise<ChainLook> {
  if (given.stake === null && given.state.state === 'staking') return {}
  const kept = given.stake === null ? await madeBefore(site, given) : given
  if (kept?.stake == null) return { returnedDepth: deepBlocks }
  const returnedDepth = await depthOfRaw(chain, kept.reclaim)
  const ours = readFunding(kept.stake.funding).stakes
  const isStakeFree = (await Promise.all(ours.map((stake) => chain.isUnspent(stake)))).every(
    (is) => is === true,
  )
  const returned = { ...(returnedDepth !== undefined && { returnedDepth }), isStakeFree }
  const theirs = kept.theirs === null ? [] : readFunding(kept.theirs).stakes
  for (const stake of [...ours, ...theirs]) {
    if ((await chain.isUnspent(stake)) !== false) continue
    const { spender } = await spenderOf(chain, stake, kept.from)
    const isReclaim = kept.reclaim !== null && spender?.txid === rawTxid(kept.reclaim)
    const deadDepth = spender === undefined || isReclaim ? undefined : depthOf(spender.status)
    if (deadDepth !== undefined) return { ...returned, deadDepth }
  }
  return returned
}

/** The contract that this one is renewed by, and whether its stake went back for good. */
async function renewalOf(site: Site, chain: Chain, { state }: KeptContract) {
  const live = 'was' in state ? state.was : 'renewal' in state ? state : undefined
  if (live?.renewal == null) return undefined
  const next = await keptContract(site.ctx.home, contractIdOf(live.renewal.terms))
  if (next === undefined) return undefined
  const renewalDeadDepth = await depthOfRaw(chain, next.reclaim)
  return { next, look: renewalDeadDepth === undefined ? {} : { renewalDeadDepth } }
}

async function lookForSpend(
  site: Site,
  chain: Chain,
  { kept, joint, next }: { kept: KeptContract; joint: Outpoint; next: KeptContract | undefined },
): Promise<{ kept: KeptContract; spend?: Spend }> {
  for (const raw of [kept.ending, next?.funding ?? null]) {
    const depth = await depthOfRaw(chain, raw)
    const isSpend = depth !== undefined && parseRaw(raw!).inputs.some(({ txid }) => txid === joint.txid)
    if (isSpend) return { kept, spend: await spendOf(site, { kept, next, raw: raw!, depth }) }
  }
  const isUnspent = await chain.isUnspent(joint)
  if (isUnspent === true) {
    const { height, hash } = await chain.tip()
    return { kept: { ...kept, from: { height, hash } } }
  }
  const { spender, from } = await spenderOf(chain, joint, kept.from)
  const depth = spender && depthOf(spender.status)
  if (spender === undefined || depth === undefined) return { kept }
  const ending = toHex(serializeTransaction(spender.transaction))
  const known = await save(site, { ...kept, ending, from })
  return { kept: known, spend: await spendOf(site, { kept: known, next, raw: ending, depth }) }
}

async function spendOf(
  site: Site,
  seen: { kept: KeptContract; next: KeptContract | undefined; raw: string; depth: number },
): Promise<Spend> {
  const { kept, next, raw, depth } = seen
  const transaction = parseRaw(raw)
  const end = endOf(await contractAt(site, termsOf(kept)), transaction)
  const txid = rawTxid(raw)
  if (end !== undefined) return { txid, depth, end }
  const follower: Contract | undefined = next && (await contractAt(site, termsOf(next)))
  const isRollover = follower !== undefined && equal(transaction.outputs[0]!.script, follower.joint.script) // it has outputs
  if (isRollover && next!.funding !== raw) await save(site, { ...next!, funding: raw })
  return { txid, depth, end: { kind: isRollover ? 'rollover' : 'unknown' } }
}

/** In blocks from `from` on and the mempool, as far as this view shows them. */
async function spenderOf(
  chain: Chain,
  outpoint: Outpoint,
  from: Place | null,
): Promise<{ spender?: Spender; from: Place | null }> {
  if (!chain.canScan || from === null) return { from }
  let trail: Trail = [from]
  const seen = new Set<string>()
  for (let left = lookLimits.steps; left > 0; left--) {
    const step = await findSpender(chain, outpoint, trail, { seen })
    if (step.spender !== undefined) return { spender: step.spender, from }
    if (step.isAtTip) return { from }
    trail = step.trail
  }
  return { from: trail[0]! } // a trail has a place
}
