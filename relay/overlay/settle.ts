/** What a transaction has behind it before the engine sees it: proofs and scripts that hold, and the network that has it. */
import { setImmediate } from 'node:timers/promises'
import type { Chain } from '../../contracts/chain/chain.ts'
import { type Beef, lineage, makeBeefOf, parseBeef, verifyBeef } from '../../contracts/transaction/beef.ts'
import { newBudget } from '../../contracts/transaction/spend.ts'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { MarketError } from '../../market/errors.ts'

const settleLimits = {
  /** Of the transaction with its ancestors up to those in blocks: what is kept. */
  beefBytes: 64 << 10,
  /** What their scripts may cost, about 1 µs each (contracts/transaction/spend.ts). */
  scriptUnits: 300_000,
  /** Of those that are in no block: the engine verifies each input once more, at ten times our cost. */
  inputs: 64,
} as const

/** Of one input, and of one output. */
const leastBytes = { input: 41, output: 9 } as const

/**
 * Of what a BEEF contains only the transaction that it is about, and its ancestors.
 * @throws as `parseBeef`; ERR_TOO_LARGE for one of which so many inputs or outputs would be looked at, and nothing kept
 */
export function parseSubmitted(bytes: Uint8Array): Beef {
  const { members, subject } = parseBeef(bytes)
  const { inputs, outputs } = subject.transaction
  if (leastBytes.input * inputs.length + leastBytes.output * outputs.length > settleLimits.beefBytes)
    throw tooLarge()
  return { members: lineage(members, [subject.txid]), subject }
}

/** @throws ERR_TOO_LARGE; ERR_TRANSACTION_REFUSED for an ancestor that is missing */
export async function boundedBeef({ members, subject }: Beef): Promise<Uint8Array> {
  const inputs = [...members.values()].reduce(
    (sum, { path, transaction }) => sum + (path === undefined ? transaction.inputs.length : 0),
    0,
  )
  if (inputs > settleLimits.inputs)
    throw new MarketError('ERR_TOO_LARGE', `more than ${settleLimits.inputs} inputs are in no block`)
  const beef = await makeBeefOf([subject.txid], (txid) => {
    const member = members.get(txid)
    if (member === undefined) throw new MarketError('ERR_TRANSACTION_REFUSED', `${txid} is not contained`)
    return member
  })
  if (beef.length <= settleLimits.beefBytes) return beef
  throw tooLarge()
}

const tooLarge = () =>
  new MarketError('ERR_TOO_LARGE', `with its ancestors it has more than ${settleLimits.beefBytes} bytes`)

/**
 * Verifies it, and lets the network have it: what nobody paid for is not admitted. Harmless to repeat.
 * @throws ERR_TRANSACTION_REFUSED, ERR_CHAIN_UNAVAILABLE
 */
export async function settle(beef: Beef, chain: Chain): Promise<void> {
  await verifyBeef(beef, chain, { ...newBudget(setImmediate), left: settleLimits.scriptUnits })
  const open = [...beef.members.values()].flatMap(({ transaction, path }) =>
    path === undefined ? [serializeTransaction(transaction)] : [],
  )
  const subject = open.at(-1)
  if (subject === undefined) return
  await chain.broadcast(subject).catch(async (error: unknown) => {
    if (!isRefusal(error) || open.length === 1) throw error
    // The network need not know its ancestors, or may have forgotten them.
    for (const transaction of open) await chain.broadcast(transaction)
  })
}

const isRefusal = (error: unknown): boolean =>
  error instanceof MarketError && error.code === 'ERR_TRANSACTION_REFUSED'
