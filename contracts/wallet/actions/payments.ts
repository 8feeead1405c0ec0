/** Paying people and being paid, over the calls of BRC-100. */
import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import type * as sdk from '@bsv/sdk'
import { z } from 'zod'
import { equal, fromHex, toBase64, toHex } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { hash160 } from '../../../market/hash.ts'
import { Key } from '../../../market/units.ts'
import type { Chain } from '../../chain/chain.ts'
import { p2pkh } from '../../transaction/script.ts'
import { parseTransaction, type Txid } from '../../transaction/transaction.ts'
import { formatCoinAddress, parseCoinAddress } from '../../transaction/address.ts'
import type { CoinStore } from '../coins/store.ts'
import { countedKey, ownScript, paymentKey } from '../own-keys.ts'
import type { WalletParts } from '../wallet-parts.ts'
import { WalletRefusal } from './errors.ts'

export type PaymentOrder = {
  readonly satoshis: number
  readonly description?: string
  readonly labels?: string[]
} & ({ readonly identity: Key } | { readonly address: string })

export interface Payment {
  readonly txid: string
  /** Atomic BEEF. */
  readonly tx: number[]
  readonly outputIndex: number
  /** What the receiver needs to find the money; none for an address. */
  readonly remittance?: sdk.WalletPayment
}

interface Payer extends Pick<sdk.WalletInterface, 'createAction' | 'getPublicKey'> {
  readonly identity: Key
  readonly store: CoinStore
  readonly chain: Chain
}

/**
 * @throws what createAction throws; a payment whose outcome is not known is kept and sent again. Its remittance is on disk
 * before it is signed (`sentRemittance`), and beside `txid` and `tx` in the WERR_REVIEW_ACTIONS that says so
 */
export async function payTo(wallet: Payer, order: PaymentOrder): Promise<Payment> {
  const { satoshis, description = 'payment', labels = [] } = order
  if (satoshis < 1) throw new MarketError('ERR_MALFORMED', 'a payment is of at least one satoshi')
  const remittance = 'identity' in order ? newRemittance(wallet.identity) : undefined
  const script =
    'identity' in order && remittance !== undefined
      ? await paymentScript(wallet, remittance, order.identity)
      : parseCoinAddress('address' in order ? order.address : '', wallet.chain.network)
  const output = { lockingScript: toHex(script), satoshis, outputDescription: 'payment' }
  // Without it nobody can derive the key of the receiver: it lasts as long as the action.
  const customInstructions = remittance && JSON.stringify(remittance)
  const { txid, tx } = await wallet
    .createAction({
      description,
      labels,
      outputs: [{ ...output, ...(customInstructions !== undefined && { customInstructions }) }],
      options: { acceptDelayedBroadcast: false },
    })
    .catch((error: unknown) => {
      const isKept = error instanceof WalletRefusal && error.name === 'WERR_REVIEW_ACTIONS'
      throw isKept && remittance !== undefined ? Object.assign(error, { remittance }) : error
    })
  assert(txid !== undefined && tx !== undefined, 'an action without inputs of others is complete')
  const { outputs } = parseTransaction(fromHex(wallet.store.known(txid)!.raw)) // it was just made
  const outputIndex = outputs.findIndex((output) => equal(output.script, script))
  return { txid, tx: [...tx], outputIndex, ...(remittance && { remittance }) }
}

const Remittance = z.strictObject({
  derivationPrefix: z.string(),
  derivationSuffix: z.string(),
  senderIdentityKey: Key,
})

/** Of a payment to an identity that was signed, whatever became of it since. @returns undefined for other transactions */
export function sentRemittance(
  store: Pick<CoinStore, 'actionOf'>,
  txid: Txid,
): { outputIndex: number; remittance: sdk.WalletPayment } | undefined {
  for (const { vout, customInstructions } of store.actionOf(txid)?.outputs ?? []) {
    const remittance = readRemittance(customInstructions)
    if (remittance !== undefined) return { outputIndex: vout, remittance }
  }
  return undefined
}

function readRemittance(instructions = ''): sdk.WalletPayment | undefined {
  try {
    return Remittance.parse(JSON.parse(instructions))
  } catch {
    // Instructions are of whoever made the output, in any form.
    return undefined
  }
}

const newRemittance = (senderIdentityKey: Key): sdk.WalletPayment => ({
  derivationPrefix: toBase64(randomBytes(12)),
  derivationSuffix: toBase64(randomBytes(12)),
  senderIdentityKey,
})

async function paymentScript(
  wallet: Pick<sdk.WalletInterface, 'getPublicKey'>,
  remittance: sdk.WalletPayment,
  receiver: Key,
): Promise<Uint8Array> {
  const { publicKey } = await wallet.getPublicKey({ ...paymentKey(remittance, receiver), forSelf: false })
  return p2pkh(fromHex(publicKey))
}

/** The last one given out, or a new one when something was received there. */
export function receiveAddress({ keys, store, chain }: WalletParts): Promise<string> {
  return store.change(async (batch) => {
    const count = batch.counter('receive')
    const last = countedKey('receive', count - 1)
    const isFresh = count > 0 && (await store.coinsWith(toHex(ownScript(keys, last)), 1)).length === 0
    const key = isFresh ? last : countedKey('receive', batch.next('receive'))
    return formatCoinAddress(hash160(keys.ownKey(key).publicKey), chain.network)
  })
}

export interface StakeKey extends Pick<sdk.WalletEncryptionArgs, 'protocolID' | 'keyID' | 'counterparty'> {
  readonly publicKey: Key
}

export const stakeKey = ({ keys, store }: WalletParts): Promise<StakeKey> =>
  store.change((batch) => {
    const key = countedKey('stake', batch.next('stake'))
    return { ...key, publicKey: toHex(keys.ownKey(key).publicKey) }
  })
