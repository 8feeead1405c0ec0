import * as sdk from '@bsv/sdk'
import t from 'tap'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { sha256 } from '../../market/hash.ts'

/** The same key in our wallet and in the sdk's. */
function pair(name: string) {
  const key = sha256(name)
  const ours = new KeyWallet(key)
  return { ours, theirs: new sdk.ProtoWallet(new sdk.PrivateKey([...key])), identity: ours.identity }
}

const alice = pair('alice')
const bob = pair('bob')
const carol = pair('carol')

t.test('a counterparty linkage is revealed with a proof that the sdk verifies', async (t) => {
  for (const [prover, verifier] of [
    [alice.ours, carol.theirs],
    [alice.theirs, carol.ours],
  ] as const) {
    const revealed = await prover.revealCounterpartyKeyLinkage({
      counterparty: bob.identity,
      verifier: carol.identity,
    })
    const name = {
      protocolID: [2, 'counterparty linkage revelation'] as sdk.WalletProtocol,
      keyID: revealed.revelationTime,
      counterparty: revealed.prover,
    }
    const { plaintext: linkage } = await verifier.decrypt({ ...name, ciphertext: revealed.encryptedLinkage })
    const { plaintext: proof } = await verifier.decrypt({
      ...name,
      ciphertext: revealed.encryptedLinkageProof,
    })
    const point = (bytes: number[]) => sdk.Point.fromDER(bytes)
    const valid = new sdk.Schnorr().verifyProof(
      ...([
        sdk.Point.fromString(alice.identity),
        sdk.Point.fromString(bob.identity),
        point(linkage),
      ] as const),
      {
        R: point(proof.slice(0, 33)),
        SPrime: point(proof.slice(33, 66)),
        z: new sdk.BigNumber(proof.slice(66)),
      },
    )

    t.equal(valid, true)
    t.match(revealed, { prover: alice.identity, verifier: carol.identity, counterparty: bob.identity })
  }
})

t.test('a specific linkage is revealed alike', async (t) => {
  const args = {
    protocolID: [2, 'Social Graph'] as sdk.WalletProtocol,
    keyID: '4',
    counterparty: bob.identity,
  }
  const reveal = async (prover: KeyWallet | sdk.ProtoWallet, verifier: KeyWallet | sdk.ProtoWallet) => {
    const { encryptedLinkage, encryptedLinkageProof, ...rest } = await prover.revealSpecificKeyLinkage({
      ...args,
      verifier: carol.identity,
    })
    const protocolID: sdk.WalletProtocol = [2, 'specific linkage revelation 2 Social Graph']
    const name = { protocolID, keyID: '4', counterparty: alice.identity }
    const linkage = await verifier.decrypt({ ...name, ciphertext: encryptedLinkage })
    const proof = await verifier.decrypt({ ...name, ciphertext: encryptedLinkageProof })
    return { ...rest, linkage: linkage.plaintext, proof: proof.plaintext }
  }

  const ours = await reveal(alice.ours, carol.theirs)
  t.strictSame(ours, await reveal(alice.theirs, carol.ours))
  t.strictSame(ours.proof, [0])
})

t.test('the secret shared with oneself or with everybody is not revealed', async (t) => {
  for (const counterparty of ['self', 'anyone', alice.identity]) {
    for (const wallet of [alice.ours, alice.theirs]) {
      await t.rejects(wallet.revealCounterpartyKeyLinkage({ counterparty, verifier: bob.identity }))
    }
  }
})
