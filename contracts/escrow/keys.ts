/** The keys of a contract as any BRC-100 wallet derives them: both sides make the same calls, with `forSelf` exchanged. */
import type * as sdk from '@bsv/sdk'
import { fromHex, toBase64, toUtf8 } from '../../market/bytes.ts'
import type { Hash, Key } from '../../market/units.ts'
import { contractIdOf, type Terms } from './terms.ts'

export const sides = ['client', 'server'] as const
export type Side = (typeof sides)[number]
const otherSide = (side: Side): Side => (side === 'client' ? 'server' : 'client')

/** `joint`: of the joint output. `stake`: of what the client puts in. `payout`: of what comes out, a BRC-29 payment. */
export type Role = 'joint' | 'stake' | 'payout'
const roles: readonly Role[] = ['joint', 'stake', 'payout']

/** What a wallet is asked with: always a counterparty, since wallets assume different ones for signing and deriving. */
export interface EscrowKey {
  readonly protocolID: [2, 'relay escrow' | '3241645161d8']
  readonly keyID: string
  readonly counterparty: Key
}

/** Compressed public keys. */
export type EscrowKeys = Readonly<Record<Role, Readonly<Record<Side, Uint8Array>>>>

/**
 * The arguments by which the wallet of `asked` names the key of `owner`; whose it is, `forSelf` says besides.
 * @param owner matters for payouts only, whose names differ
 */
export function escrowKey(terms: Terms, role: Role, asked: Side, owner: Side = asked): EscrowKey {
  const counterparty = terms[otherSide(asked)]
  const id = contractIdOf(terms)
  if (role === 'joint') return { protocolID: [2, 'relay escrow'], keyID: id, counterparty }
  if (role === 'stake') return { protocolID: [2, 'relay escrow'], keyID: `stake ${id}`, counterparty }
  const { derivationPrefix, derivationSuffix } = payoutNames(id, owner)
  return { protocolID: [2, '3241645161d8'], keyID: `${derivationPrefix} ${derivationSuffix}`, counterparty }
}

/** All keys of both sides, asked of the wallet of one. */
export async function escrowKeys(
  wallet: Pick<sdk.WalletInterface, 'getPublicKey'>,
  terms: Terms,
  asked: Side,
): Promise<EscrowKeys> {
  const keyOf = async (role: Role, owner: Side): Promise<Uint8Array> => {
    const key = escrowKey(terms, role, asked, owner)
    return fromHex((await wallet.getPublicKey({ ...key, forSelf: owner === asked })).publicKey)
  }
  const pairs = roles.map(async (role) => {
    const [client, server] = await Promise.all([keyOf(role, 'client'), keyOf(role, 'server')])
    return [role, { client, server }] as const
  })
  return Object.fromEntries(await Promise.all(pairs)) as unknown as EscrowKeys // a pair for each role
}

/** What `owner` tells its wallet to find its payout, an ordinary wallet payment of the other. */
export const payoutRemittance = (terms: Terms, owner: Side) => ({
  ...payoutNames(contractIdOf(terms), owner),
  senderIdentityKey: terms[otherSide(owner)],
})

const payoutNames = (id: Hash, owner: Side) => ({
  derivationPrefix: toBase64(fromHex(id)),
  derivationSuffix: toBase64(toUtf8(owner)),
})

/** Signs digests of transactions with keys of a contract; all that a contract needs of a wallet besides the keys. */
export interface EscrowSigner {
  /** @returns DER */
  sign(key: EscrowKey, digest: Uint8Array): Promise<Uint8Array>
}

/** Any BRC-100 wallet as a signer: of the digest itself, since wallets hash data only once. */
export const walletSigner = (wallet: Pick<sdk.WalletInterface, 'createSignature'>): EscrowSigner => ({
  async sign(key, digest) {
    const { signature } = await wallet.createSignature({ ...key, hashToDirectlySign: [...digest] })
    return Uint8Array.from(signature)
  },
})
