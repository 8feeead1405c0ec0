/** Our stake of a funding that the network does not take: spent once more, it is an ordinary coin, and the funding is dead for good. */
import { refused } from '../../contracts/escrow/refusal.ts'
import { readFunding } from '../../contracts/escrow/messages.ts'
import { inputBytes, type Stake } from '../../contracts/escrow/transactions.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { unlockP2pkh } from '../../contracts/transaction/script.ts'
import { sighash, sighashType } from '../../contracts/transaction/sighash.ts'
import { formatOutpoint, type Txid } from '../../contracts/transaction/transaction.ts'
import type { OwnKey } from '../../contracts/wallet/coins/rows.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { concat, toHex } from '../../market/bytes.ts'
import type { Facts } from '../store/contracts.ts'

/**
 * Resolves with what spends our stake, sent; again with the same. Undefined where there is nothing to do: it is spent, or the
 * network knows what kills the funding. @throws as wallets do
 */
export async function reclaimStake(
  wallet: EmbeddedWallet,
  keys: KeyWallet,
  { ours, others }: Pick<Facts, 'ours' | 'others'>,
): Promise<Txid | undefined> {
  if (ours === null) return undefined
  const { chain, store } = wallet
  for (const txid of others) if ((await chain.status(txid)).state !== 'unknown') return undefined
  const [stake] = readFunding({ stakes: [ours.stake], change: null }).stakes
  if (stake === undefined) return undefined
  const spent = store.coin(formatOutpoint(stake))?.spent
  if (spent !== undefined) return spent.action === undefined ? undefined : spent.by
  if ((await chain.isUnspent(stake)) === false) return undefined
  return spendAgain(wallet, keys, { stake, key: ours.key })
}

/** The whole of it into change. */
async function spendAgain(
  wallet: EmbeddedWallet,
  keys: KeyWallet,
  { stake, key }: { stake: Stake; key: OwnKey },
): Promise<Txid | undefined> {
  const outpoint = formatOutpoint(stake)
  const { signableTransaction } = await wallet.createAction({
    description: 'the stake of a contract whose funding the network does not take',
    inputs: [{ outpoint, inputDescription: 'a stake', unlockingScriptLength: inputBytes }],
    options: { randomizeOutputs: false, acceptDelayedBroadcast: false },
  })
  if (signableTransaction === undefined) throw refused('state', 'the wallet did not ask for our signature')
  const { tx, reference } = signableTransaction
  const { transaction } = parseBeef(Uint8Array.from(tx)).subject
  const at = transaction.inputs.findIndex((input) => formatOutpoint(input) === outpoint)
  const own = keys.ownKey(key)
  const signature = concat(own.sign(sighash(transaction, at, stake)), Uint8Array.of(sighashType))
  const unlockingScript = toHex(unlockP2pkh(signature, own.publicKey))
  const { txid } = await wallet.signAction({ reference, spends: { [at]: { unlockingScript } } })
  return txid
}
