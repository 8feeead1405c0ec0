import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import * as sdk from '@bsv/sdk'
import fc from 'fast-check'
import t from 'tap'
import { type KeyName, KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { concat, fromHex, toHex, toUtf8 } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { ANYONE_KEY, anyonePrivateKey, messageKey, RECORD_PROTOCOL } from '../../market/identity.ts'
import { verify } from '../../market/secp256k1.ts'

const vectors = JSON.parse(readFileSync('test/fixtures/vectors/brc-100-crypto.json', 'utf8'))
const malformed = { code: 'ERR_MALFORMED' }

/** The same key in our wallet and in the sdk's. */
function pair(name: string) {
  const key = sha256(name)
  const ours = new KeyWallet(key)
  return { key, ours, theirs: new sdk.ProtoWallet(new sdk.PrivateKey([...key])), identity: ours.identity }
}

const alice = pair('alice')
const bob = pair('bob')

/** Every kind of key: three levels, with oneself, with anyone, with another. */
const names = ([0, 1, 2] as const).flatMap((level) =>
  ['self', 'anyone', bob.identity].map((counterparty) => ({
    protocolID: [level, 'Round Trip'] as sdk.WalletProtocol,
    keyID: `key ${level}`,
    counterparty,
  })),
)

const text = (value: string): number[] => [...toUtf8(value)]

t.test('the vectors of BRC-2 and BRC-3', async (t) => {
  const { encryption, hmac, signature } = vectors
  const walletOf = ({ privateKey }: { privateKey: string }) => new KeyWallet(fromHex(privateKey))

  t.equal(walletOf(encryption).identity, encryption.identity)
  t.strictSame(
    await walletOf(encryption).decrypt({ ...encryption, ciphertext: [...fromHex(encryption.ciphertext)] }),
    {
      plaintext: text(encryption.plaintext),
    },
  )
  const mac = { ...hmac, data: text(hmac.data), hmac: [...fromHex(hmac.hmac)] }
  t.strictSame(await walletOf(hmac).createHmac(mac), { hmac: mac.hmac })
  t.strictSame(await walletOf(hmac).verifyHmac(mac), { valid: true })
  const signed = { ...signature, data: text(signature.data), signature: [...fromHex(signature.signature)] }
  t.strictSame(await walletOf(signature).verifySignature(signed), { valid: true })
})

t.test('keys, signatures and HMACs are those of the sdk, for every kind of key', async (t) => {
  t.strictSame(await alice.ours.getPublicKey({ identityKey: true }), { publicKey: alice.identity })
  for (const name of names) {
    const data = text(`data of ${name.keyID}`)
    const label = inspect(name)
    for (const forSelf of [false, true]) {
      const args = { ...name, forSelf }
      t.strictSame(await alice.ours.getPublicKey(args), await alice.theirs.getPublicKey(args), label)
    }
    const { signature } = await alice.ours.createSignature({ ...name, data })
    t.strictSame({ signature }, await alice.theirs.createSignature({ ...name, data }), label)
    for (const wallet of [alice.ours, alice.theirs]) {
      t.strictSame(
        await wallet.verifySignature({ ...name, data, signature, forSelf: true }),
        { valid: true },
        label,
      )
    }
    const { hmac } = await alice.ours.createHmac({ ...name, data })
    t.strictSame({ hmac }, await alice.theirs.createHmac({ ...name, data }), label)
    t.strictSame(await alice.ours.verifyHmac({ ...name, data, hmac }), { valid: true }, label)
  }
})

t.test('what one wallet encrypts, the other decrypts', async (t) => {
  for (const name of names) {
    const plaintext = text(`plaintext of ${inspect(name)}`)
    const fromOurs = await alice.ours.encrypt({ ...name, plaintext })
    const fromTheirs = await alice.theirs.encrypt({ ...name, plaintext })

    t.strictSame(await alice.theirs.decrypt({ ...name, ...fromOurs }), { plaintext })
    t.strictSame(await alice.ours.decrypt({ ...name, ...fromTheirs }), { plaintext })
  }
})

t.test('two parties reach each other across the two wallets, whatever the bytes', async (t) => {
  const toBob = { protocolID: RECORD_PROTOCOL, keyID: 'record 1', counterparty: bob.identity.toUpperCase() }
  const fromAlice = { ...toBob, counterparty: alice.identity }
  const inputs = fc.sample(fc.uint8Array({ minLength: 1, maxLength: 300 }), { numRuns: 8, seed: 1 })
  for (const bytes of inputs) {
    const data = [...bytes]
    const { ciphertext } = await alice.ours.encrypt({ ...toBob, plaintext: data })
    const { signature } = await alice.ours.createSignature({ ...toBob, data })
    const { signature: reply } = await bob.theirs.createSignature({ ...fromAlice, data })

    t.strictSame(await bob.theirs.decrypt({ ...fromAlice, ciphertext }), { plaintext: data })
    t.strictSame(await bob.theirs.verifySignature({ ...fromAlice, data, signature }), { valid: true })
    t.strictSame(await alice.ours.verifySignature({ ...toBob, data, signature: reply }), { valid: true })
    t.strictSame(bob.ours.decryptBytes(alice.ours.encryptBytes(bytes, toBob), fromAlice), Buffer.from(bytes))
  }
})

t.test('counterparties left out are the defaults of BRC-100', async (t) => {
  const name = { protocolID: [2, 'defaults'] as sdk.WalletProtocol, keyID: '1' }
  const data = text('data')
  const { signature } = await alice.ours.createSignature({ ...name, data })

  t.strictSame({ signature }, await alice.theirs.createSignature({ ...name, data }))
  t.strictSame(await alice.ours.getPublicKey(name), await alice.theirs.getPublicKey(name))
  t.strictSame(
    await alice.ours.createHmac({ ...name, data }),
    await alice.theirs.createHmac({ ...name, data }),
  )
  t.strictSame(
    await alice.theirs.decrypt({ ...name, ...(await alice.ours.encrypt({ ...name, plaintext: data })) }),
    {
      plaintext: data,
    },
  )
  await t.rejects(alice.ours.verifySignature({ ...name, data, signature }), { code: 'ERR_INVALID_SIGNATURE' })
})

t.test('a symmetric key that begins with a zero byte makes the HMAC of the sdk', async (t) => {
  const name = { protocolID: [2, 'leading zero'] as sdk.WalletProtocol, keyID: '433', counterparty: 'self' }
  const key = alice.theirs.keyDeriver!.deriveSymmetricKey(name.protocolID, name.keyID, name.counterparty)
  t.equal(key.byteLength(), 31)

  const data = text('data')
  t.strictSame(
    await alice.ours.createHmac({ ...name, data }),
    await alice.theirs.createHmac({ ...name, data }),
  )
})

t.test('a hash is signed and verified as it is', async (t) => {
  const name = {
    protocolID: [1, 'hash signing'] as sdk.WalletProtocol,
    keyID: '1',
    counterparty: bob.identity,
  }
  const data = text('data')
  const hash = [...sha256(Uint8Array.from(data))]
  const { signature } = await alice.ours.createSignature({ ...name, hashToDirectlySign: hash })

  t.strictSame({ signature }, await alice.ours.createSignature({ ...name, data }))
  t.ok(await alice.ours.verifySignature({ ...name, hashToDirectlyVerify: hash, signature, forSelf: true }))
  await t.rejects(alice.ours.createSignature({ ...name, hashToDirectlySign: hash.slice(1) }), malformed)
  await t.rejects(alice.ours.createSignature(name), malformed)
})

t.test('what is not valid is refused with the codes of the sdk', async (t) => {
  const name = { protocolID: [2, 'refusals'] as sdk.WalletProtocol, keyID: '1', counterparty: bob.identity }
  const data = text('data')
  const { hmac } = await alice.ours.createHmac({ ...name, data })
  const { signature } = await alice.ours.createSignature({ ...name, data })
  for (const wallet of [alice.ours, alice.theirs]) {
    await t.rejects(wallet.verifyHmac({ ...name, data, hmac: hmac.with(0, hmac[0]! ^ 1) }), {
      code: 'ERR_INVALID_HMAC',
    })
    await t.rejects(wallet.verifyHmac({ ...name, data, hmac: hmac.slice(1) }), { code: 'ERR_INVALID_HMAC' })
    await t.rejects(wallet.verifySignature({ ...name, data: text('other'), signature, forSelf: true }), {
      code: 'ERR_INVALID_SIGNATURE',
    })
    for (const args of [{}, { protocolID: name.protocolID }, { keyID: '1' }, { ...name, keyID: '' }]) {
      await t.rejects(wallet.getPublicKey(args))
    }
    for (const counterparty of ['', 'nobody', bob.identity.slice(2), `02${'5'.padStart(64, '0')}`]) {
      await t.rejects(wallet.getPublicKey({ ...name, counterparty }))
    }
    await t.rejects(wallet.getPublicKey({ ...name, protocolID: [2, 'bad protocol'] }))
  }
  await t.rejects(alice.ours.getPublicKey({ ...name, counterparty: 'nobody' }), malformed)
})

t.test('a ciphertext of which a byte is changed or missing does not decrypt', async (t) => {
  const name: KeyName = { protocolID: RECORD_PROTOCOL, keyID: '1', counterparty: bob.identity }
  const bytes = alice.ours.encryptBytes(toUtf8('secret'), name)
  t.equal(bytes.length, 32 + 6 + 16)
  for (let i = 0; i < bytes.length; i++) {
    t.throws(() => alice.ours.decryptBytes(Uint8Array.from(bytes).with(i, bytes[i]! ^ 1), name), malformed)
    t.throws(() => alice.ours.decryptBytes(bytes.subarray(0, i), name), malformed)
  }
  t.throws(() => alice.ours.decryptBytes(bytes, { ...name, keyID: '2' }), malformed)
})

t.test('an empty plaintext is refused', async (t) => {
  const name = { protocolID: [2, 'nothing'] as sdk.WalletProtocol, keyID: '1' }
  const { ciphertext } = await alice.theirs.encrypt({ ...name, plaintext: [] })

  await t.rejects(alice.ours.decrypt({ ...name, ciphertext }), malformed)
  await t.rejects(alice.ours.encrypt({ ...name, plaintext: [] }), malformed)
})

t.test('messages are signed with the key that everybody derives for the identity', async (t) => {
  const digest = sha256('message')
  const signature = alice.ours.sign(digest)
  const args = { protocolID: [1, 'relay message'] as sdk.WalletProtocol, keyID: '1', counterparty: 'anyone' }

  t.ok(verify(signature, digest, messageKey(alice.identity)))
  const theirs = await alice.theirs.createSignature({ ...args, hashToDirectlySign: [...digest] })
  t.strictSame([...signature], theirs.signature)
})

t.test('a wallet copies its key and shows it to nobody', async (t) => {
  const key = sha256('dave')
  const wallet = new KeyWallet(key)
  key.fill(0)

  t.strictSame(wallet.sign(sha256('x')), pair('dave').ours.sign(sha256('x')))
  t.equal(JSON.stringify(wallet), JSON.stringify({ identity: wallet.identity }))
  t.equal(inspect(wallet, { showHidden: true, depth: 9 }).includes(toHex(sha256('dave'))), false)
  t.strictSame(Object.keys(wallet), ['identity'])
})

t.test('a wallet is made of a private key and nothing else', async (t) => {
  t.throws(() => new KeyWallet(new Uint8Array(32)), malformed)
  t.throws(() => new KeyWallet(concat(sha256('x'), new Uint8Array(1))), malformed)
  t.not(KeyWallet.random().identity, KeyWallet.random().identity)
  t.equal(new KeyWallet(anyonePrivateKey).identity, ANYONE_KEY)
})
