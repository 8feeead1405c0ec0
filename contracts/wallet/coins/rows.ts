/**
 * What a wallet keeps, and under which keys. Values are JSON; numbers in keys have 16 digits, so that text order is order.
 *
 *   m                          Meta: whose coins, of which network
 *   place                      the last block that was scanned (contracts/chain/chain.ts `Place`)
 *   recovery                   Recovery: while blocks of the past are read for coins of a key
 *   n!KIND                     how many keys or rows of a kind there are: receive, change, stake, action, coin
 *   a!NUMBER                   Action: a transaction that is made or was brought here, and what became of it
 *   x!TXID                     the number of the action that this transaction is
 *   s!STATE!NUMBER             actions by state
 *   l!LABEL!NUMBER             actions by label
 *   t!TXID                     Known: a transaction with its proof; own ones, and ancestors that a BEEF needs
 *   p!HEIGHT!TXID              proven transactions by height: what a reorganisation takes back
 *   c!TXID.VOUT                Coin
 *   b!BASKET!NUMBER            unspent coins by basket, oldest first, reserved ones too
 *   f!MINED!SATOSHIS!OUTPOINT  coins that may be selected now, by amount; MINED is 1 or 0
 *   h!HASH!OUTPOINT            all coins by SHA-256 of their script
 *
 * s, l, x, p, b, f and h are indexes: batch.ts writes them with the rows they follow from, and nothing else does.
 */
import { z } from 'zod'
import { fromHex, toHex, toUtf8 } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { sha256 } from '../../../market/hash.ts'
import { Hash, Key, Milliseconds, mostSatoshi } from '../../../market/units.ts'
import { Network } from '../../chain/chain.ts'

export const walletLimits = {
  /** What BRC-100 allows; descriptions as long as other wallets take them. */
  nameBytes: 300,
  descriptionBytes: 2000,
  instructionsBytes: 64 << 10,
  tags: 100,
  labels: 100,
} as const

const Hex = z.string().regex(/^(?:[0-9a-f]{2})*$/, 'not lower-case hex')
export const OutpointText = z.string().regex(/^[0-9a-f]{64}\.(?:0|[1-9][0-9]{0,8})$/, 'not TXID.VOUT')
const Count = z.int().min(0)
const Amount = z.int().min(0).max(mostSatoshi)

export const Meta = z.strictObject({
  version: z.literal(1),
  identity: Key,
  network: Network,
  created: Milliseconds,
})
export type Meta = z.infer<typeof Meta>

/** Own keys that are counted: found again by whoever has the private key, without any backup. */
export const KeyKind = z.enum(['receive', 'change', 'stake'])
export type KeyKind = z.infer<typeof KeyKind>
/** What is counted: numbers of these are given out once. */
export const Counter = z.enum([...KeyKind.options, 'action', 'coin'])
export type Counter = z.infer<typeof Counter>

/** Until all blocks `from` that height were read with so many keys of each kind in view. */
export const Recovery = z.strictObject({
  from: Count,
  watched: z.record(KeyKind, Count),
  /** Of the backup that it began with. */
  sequence: Count.optional(),
})
export type Recovery = z.infer<typeof Recovery>

/** A key of ours, as BRC-43 names it; it is ours in the view of `forSelf`. */
export const OwnKey = z.strictObject({
  protocolID: z.tuple([z.literal([0, 1, 2]), z.string()]),
  keyID: z.string(),
  counterparty: z.string(),
})
export type OwnKey = z.infer<typeof OwnKey>

export const ActionState = z.enum(['unsigned', 'nosend', 'sending', 'unproven', 'mined', 'failed'])
export type ActionState = z.infer<typeof ActionState>

export const ActionInput = z.strictObject({
  outpoint: OutpointText,
  satoshis: Amount,
  script: Hex,
  description: z.string(),
  /** Present where this wallet signs. */
  key: OwnKey.optional(),
  /** What its owner announced for a script that comes with `signAction`. */
  unlockBytes: Count.optional(),
})
export type ActionInput = z.infer<typeof ActionInput>

export const ActionOutput = z.strictObject({
  vout: Count,
  description: z.string(),
  /** What whoever is paid needs to find or to spend it. */
  customInstructions: z.string().optional(),
  /** Present where a coin is kept of it, as the next two. */
  basket: z.string().optional(),
  tags: z.array(z.string()).optional(),
  key: OwnKey.optional(),
})
export type ActionOutput = z.infer<typeof ActionOutput>

export const Action = z.strictObject({
  number: Count,
  /** What BRC-100 calls it by before there is a transaction id. */
  reference: z.string(),
  state: ActionState,
  /** Present from the moment all is signed. */
  txid: Hash.optional(),
  /** While it is not signed: the transaction with empty unlocking scripts where they are missing. */
  template: Hex.optional(),
  /** When the coins of an unsigned one are free again. */
  until: Milliseconds.optional(),
  description: z.string(),
  labels: z.array(z.string()),
  created: Milliseconds,
  isOutgoing: z.boolean(),
  /** It was made with `noSend`: others may have it and send it, so that no refusal alone frees its coins. */
  isHandedOut: z.literal(true).optional(),
  /** What all coins together gained or lost by it. */
  satoshis: z.int(),
  inputs: z.array(ActionInput),
  outputs: z.array(ActionOutput),
  /** In words: why it failed. */
  failure: z.string().optional(),
})
export type Action = z.infer<typeof Action>

/** The state of the transaction that an output belongs to: only `unproven` and `mined` ones exist for others. */
export const CoinState = z.enum(['expected', 'unproven', 'mined', 'failed'])
export type CoinState = z.infer<typeof CoinState>

export const Coin = z.strictObject({
  outpoint: OutpointText,
  number: Count,
  /** That made or brought it. */
  action: Count,
  state: CoinState,
  satoshis: Amount,
  script: Hex,
  description: z.string(),
  /** Without one it was relinquished: kept so that nothing brings it back, and never listed. */
  basket: z.string().optional(),
  tags: z.array(z.string()),
  customInstructions: z.string().optional(),
  key: OwnKey.optional(),
  /** By an unsigned action. */
  reserved: z.strictObject({ action: Count, until: Milliseconds }).optional(),
  /** By a transaction of ours (`action`), or by one that others made; without `by` all that is known is that it is spent. */
  spent: z.strictObject({ by: Hash.optional(), action: Count.optional() }).optional(),
})
export type Coin = z.infer<typeof Coin>

export const Known = z.strictObject({ raw: Hex, path: Hex.optional(), height: Count.optional() })
export type Known = z.infer<typeof Known>

/** The basket of coins that the wallet may spend as it likes; the name that other wallets give it, too. */
export const fundsBasket = 'default'

export const digits = (number: number): string => String(number).padStart(16, '0')
const word = (text: string): string => toHex(toUtf8(text))

export const keys = {
  meta: 'm',
  place: 'place',
  recovery: 'recovery',
  counter: (kind: Counter) => `n!${kind}`,
  action: (number: number) => `a!${digits(number)}`,
  byTxid: (txid: string) => `x!${txid}`,
  inState: (state: ActionState, number?: number) =>
    `s!${state}!${number === undefined ? '' : digits(number)}`,
  labelled: (label: string, number?: number) =>
    `l!${word(label)}!${number === undefined ? '' : digits(number)}`,
  known: (txid: string) => `t!${txid}`,
  proven: (height: number, txid = '') => `p!${digits(height)}!${txid}`,
  coin: (outpoint: string) => `c!${outpoint}`,
  inBasket: (basket: string, number?: number) =>
    `b!${word(basket)}!${number === undefined ? '' : digits(number)}`,
  free: (isMined: boolean, satoshis: number, outpoint = '') =>
    `f!${isMined ? 1 : 0}!${digits(satoshis)}!${outpoint}`,
  withScript: (script: string, outpoint = '') => `h!${toHex(sha256(fromHex(script)))}!${outpoint}`,
} as const

/** All keys that begin with a prefix. */
export const within = (prefix: string) => ({
  gte: prefix,
  lt: `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`,
})

/** @throws ERR_INTERNAL when a row is not what was written */
export function parseRow<T>(schema: z.ZodType<T>, key: string, text: string): T {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new MarketError('ERR_INTERNAL', `the coins are damaged: row ${key}`, {
      extras: { reason: 'damaged' },
      cause,
    })
  }
}
