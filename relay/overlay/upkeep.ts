/** What is held, looked at again: outputs that were spent without a word to us, or that the chain has lost, or has in a block now. */
import type { Chain } from '../../contracts/chain/chain.ts'
import { type Beef, makeBeefOf, parseBeef } from '../../contracts/transaction/beef.ts'
import { rootOf } from '../../contracts/transaction/merkle-path.ts'
import type { Outpoint } from '../../contracts/transaction/transaction.ts'
import type { LevelStorage } from './storage.ts'
import type { Topic } from './topic.ts'

export interface Looking {
  readonly chain: Pick<Chain, 'isUnspent' | 'proof' | 'isValidRootForHeight'>
  readonly storage: LevelStorage
  readonly topic: Topic
  /** How many were looked at before. */
  readonly from: number
}

/** In one turn: each costs the chain two questions. */
const perTurn = 8

/** @returns where to go on @throws ERR_CHAIN_UNAVAILABLE */
export async function lookAgain({ from, ...looking }: Looking): Promise<number> {
  const held = looking.topic.held()
  if (held.length === 0) return 0
  const start = from % held.length
  const turn = held.slice(start, start + perTurn)
  for (const outpoint of turn) await lookAt(looking, outpoint)
  return start + turn.length
}

async function lookAt(looking: Omit<Looking, 'from'>, outpoint: Outpoint): Promise<void> {
  const { chain, storage, topic } = looking
  const stored = storage.beefOf(outpoint, topic.name)
  if (stored === undefined) return evict(looking, outpoint)
  if ((await chain.isUnspent(outpoint)) === false) return retire(looking, outpoint)
  const beef = parseBeef(stored)
  const isProven = await hasGoodProofs(chain, beef)
  if (isProven && beef.subject.path !== undefined) return
  const path = await chain.proof(outpoint.txid)
  if (path !== undefined) {
    const { txid, transaction } = beef.subject
    const proven = await makeBeefOf([txid], () => ({ txid, transaction, path }))
    storage.putBeef(outpoint, topic.name, proven)
  } else if (!isProven) await evict(looking, outpoint)
}

async function hasGoodProofs(chain: Looking['chain'], { members }: Beef): Promise<boolean> {
  for (const { txid, path } of members.values())
    if (path !== undefined && !(await chain.isValidRootForHeight(rootOf(path, txid).root, path.height)))
      return false
  return true
}

/** Found no more; but whoever spent it may be about to say so, and is to hear that it was here. */
async function retire(looking: Omit<Looking, 'from'>, outpoint: Outpoint): Promise<void> {
  const { storage, topic } = looking
  await storage.markUTXOAsSpent(outpoint.txid, outpoint.vout, topic.name)
  await leave(looking, outpoint)
}

async function evict(looking: Omit<Looking, 'from'>, outpoint: Outpoint): Promise<void> {
  looking.storage.remove(outpoint, looking.topic.name)
  await leave(looking, outpoint)
}

/** It may be submitted again. */
async function leave({ storage, topic }: Omit<Looking, 'from'>, outpoint: Outpoint): Promise<void> {
  storage.forget(outpoint.txid, topic.name)
  await topic.lookup.outputEvicted(outpoint.txid, outpoint.vout)
}
