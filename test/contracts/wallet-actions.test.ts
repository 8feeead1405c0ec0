import * as sdk from '@bsv/sdk'
import t, { type Test } from 'tap'
import { feeFor } from '../../contracts/chain/chain.ts'
import { p2pkh, unlockP2pkh } from '../../contracts/transaction/script.ts'
import { parseTransaction, serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { sighash } from '../../contracts/transaction/sighash.ts'
import { parseBeef, verifyBeef } from '../../contracts/transaction/beef.ts'
import { feeOf } from '../../contracts/transaction/spend.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import type { WalletMethods } from '../../contracts/wallet/own-methods.ts'
import { formatCoinAddress } from '../../contracts/transaction/address.ts'
import { countedKey, ownScript } from '../../contracts/wallet/own-keys.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { sign } from '../../market/secp256k1.ts'
import { payee } from '../fixtures/transactions.ts'
import { beefOf, keysOf, openScene, type Scene } from '../fixtures/wallet.ts'
import { overJson, overWire } from '../fixtures/wallet-server.ts'

const somebody = payee('somebody')
const lockingScript = toHex(somebody.script)
const output = (satoshis: number, more = {}) => ({
  lockingScript,
  satoshis,
  outputDescription: 'for somebody',
  ...more,
})

/** Each way of calling a wallet: it must not matter. */
const ways: [string, (t: Test, wallet: EmbeddedWallet) => Promise<WalletMethods>][] = [
  ['directly', async (_, wallet) => wallet],
  ['over HTTP with JSON', overJson],
  ['over HTTP with the binary wire', overWire],
]

const trackerOf = ({ devnet: { chain } }: Scene): sdk.ChainTracker => ({
  isValidRootForHeight: (root, height) => chain.isValidRootForHeight(root, height),
  currentHeight: () => chain.currentHeight(),
})

for (const [way, reach] of ways) {
  t.test(
    `createAction ${way}: pays, returns BEEF that the sdk verifies, and the network has it`,
    async (t) => {
      const scene = await openScene(t)
      const alice = await scene.open('alice')
      await scene.fund(alice, [50_000])
      const wallet = await reach(t, alice)

      const { txid, tx, signableTransaction } = await wallet.createAction({
        description: 'pay somebody',
        outputs: [output(10_000), output(0, { lockingScript: '006a0474657374' })],
        labels: ['Rent'],
        options: { acceptDelayedBroadcast: false },
      })

      t.equal(signableTransaction, undefined)
      const parsed = sdk.Transaction.fromAtomicBEEF([...tx!])
      t.equal(parsed.id('hex'), txid)
      t.ok(await parsed.verify(trackerOf(scene)))
      const beef = parseBeef(Uint8Array.from(tx!))
      const spent = await verifyBeef(beef, scene.devnet.chain)
      const { transaction } = beef.subject
      const bytes = serializeTransaction(transaction).length
      const fee = feeOf(transaction, spent)
      t.ok(fee >= feeFor(bytes, 100) && fee <= feeFor(bytes + 2, 100), `${fee} for ${bytes} bytes`)
      t.match(transaction, { version: 1, lockTime: 0 })
      t.ok(transaction.inputs.every(({ sequence }) => sequence === 0xffffffff))
      t.same(await scene.devnet.chain.status(txid!), { state: 'mempool' })
      const balance = await alice.balance()
      t.same(balance, { confirmed: 0, unconfirmed: 40_000 - fee, reserved: 0 })
      const { totalActions, actions } = await wallet.listActions({ labels: ['rent'], includeLabels: true })
      t.equal(totalActions, 1)
      t.match(actions[0], {
        txid,
        status: 'unproven',
        isOutgoing: true,
        satoshis: -10_000 - fee,
        labels: ['rent'],
      })
    },
  )

  t.test(
    `outputs in baskets ${way}: listed with what was said of them, spent by signAction, relinquished`,
    async (t) => {
      const scene = await openScene(t)
      const alice = await scene.open('alice')
      await scene.fund(alice, [50_000])
      const wallet = await reach(t, alice)
      const key = {
        protocolID: [2, 'relay escrow'] as [2, string],
        keyID: 'c1',
        counterparty: keysOf('bob').identity,
      }
      const { publicKey } = await wallet.getPublicKey({ ...key, forSelf: true })
      const stake = {
        ...output(5000, { lockingScript: toHex(p2pkh(fromHex(publicKey))) }),
        basket: 'Relay Escrow Stakes',
        tags: ['open', 'c1'],
        customInstructions: JSON.stringify(key),
      }
      const made = await wallet.createAction({
        description: 'two stakes',
        outputs: [stake, { ...stake, tags: ['open', 'c2'], satoshis: 6000 }],
        options: { randomizeOutputs: false },
      })

      const all = { basket: 'relay escrow stakes' }
      const listed = await wallet.listOutputs({
        ...all,
        includeTags: true,
        includeCustomInstructions: true,
        includeLabels: true,
        include: 'locking scripts',
      })
      t.equal(listed.totalOutputs, 2)
      t.match(listed.outputs, [
        {
          outpoint: `${made.txid}.0`,
          satoshis: 5000,
          spendable: true,
          tags: ['open', 'c1'],
          customInstructions: stake.customInstructions,
          lockingScript: stake.lockingScript,
        },
        { outpoint: `${made.txid}.1`, satoshis: 6000 },
      ])
      t.match(await wallet.listOutputs({ ...all, tags: ['c1', 'c2'] }), { totalOutputs: 2 })
      t.match(await wallet.listOutputs({ ...all, tags: ['c1', 'open'], tagQueryMode: 'all' }), {
        totalOutputs: 1,
      })
      t.match(await wallet.listOutputs({ ...all, limit: 1, offset: 1 }), {
        totalOutputs: 2,
        outputs: [{ satoshis: 6000 }],
      })
      const { BEEF } = await wallet.listOutputs({ ...all, include: 'entire transactions' })
      t.ok(sdk.Beef.fromBinary([...BEEF!]).findTxid(made.txid!))

      const { signableTransaction } = await wallet.createAction({
        description: 'spend a stake',
        inputs: [{ outpoint: `${made.txid}.0`, unlockingScriptLength: 108, inputDescription: 'the stake' }],
        outputs: [output(4000)],
      })
      const draft = sdk.Transaction.fromAtomicBEEF([...signableTransaction!.tx])
      t.match(await wallet.listOutputs(all), { totalOutputs: 1 }, 'reserved meanwhile')
      const unlockingScript = await unlock(wallet, draft, { ...key, publicKey, satoshis: 5000 })
      await t.rejects(wallet.signAction({ reference: signableTransaction!.reference, spends: {} }), {
        message: /unlocks .* is missing/,
      })
      await t.rejects(
        wallet.signAction({
          reference: signableTransaction!.reference,
          spends: { 0: { unlockingScript: `${unlockingScript}61` } },
        }),
        { message: /input 0/ },
      )
      const signed = await wallet.signAction({
        reference: signableTransaction!.reference,
        spends: { 0: { unlockingScript } },
        options: { acceptDelayedBroadcast: false },
      })
      t.equal((await scene.devnet.chain.status(signed.txid!)).state, 'mempool')
      t.ok(await sdk.Transaction.fromAtomicBEEF([...signed.tx!]).verify(trackerOf(scene)))
      t.match(await wallet.listOutputs(all), { totalOutputs: 1, outputs: [{ satoshis: 6000 }] })

      t.same(await wallet.relinquishOutput({ ...all, output: `${made.txid}.1` }), { relinquished: true })
      t.match(await wallet.listOutputs(all), { totalOutputs: 0, outputs: [] })
      const { actions } = await wallet.listActions({ labels: [], includeInputs: true, includeOutputs: true })
      t.match(actions.at(-1)?.inputs?.[0], {
        sourceOutpoint: `${made.txid}.0`,
        sourceSatoshis: 5000,
        inputDescription: 'the stake',
      })
    },
  )

  t.test(`abortAction and noSend ${way}`, async (t) => {
    const scene = await openScene(t)
    const alice = await scene.open('alice')
    await scene.fund(alice, [50_000])
    const wallet = await reach(t, alice)
    const full = await alice.balance()

    const kept = await wallet.createAction({
      description: 'kept back',
      outputs: [output(1000)],
      options: { noSend: true },
    })
    t.equal((await scene.devnet.chain.status(kept.txid!)).state, 'unknown')
    t.ok(await sdk.Transaction.fromAtomicBEEF([...kept.tx!]).verify(trackerOf(scene)))
    t.same(await wallet.abortAction({ reference: kept.txid! }), { aborted: true })
    t.same(await wallet.abortAction({ reference: kept.txid! }), { aborted: true }, 'again')
    t.same(await alice.balance(), full)

    const second = await wallet.createAction({
      description: 'kept back',
      outputs: [output(2000)],
      options: { noSend: true },
    })
    const { sendWithResults } = await wallet.createAction({
      description: 'send it now',
      options: { sendWith: [second.txid!] },
    })
    t.same(sendWithResults, [{ txid: second.txid, status: 'unproven' }])
    t.equal((await scene.devnet.chain.status(second.txid!)).state, 'mempool')
    await t.rejects(wallet.abortAction({ reference: second.txid! }), {
      message: /cannot be taken back/,
    })

    const waiting = await wallet.createAction({
      description: 'not yet signed',
      outputs: [output(3000)],
      options: { signAndProcess: false },
    })
    const { reference } = waiting.signableTransaction!
    const reserved = await alice.balance()
    t.ok(reserved.reserved > 0)
    t.same(await wallet.abortAction({ reference }), { aborted: true })
    t.equal((await alice.balance()).reserved, 0)
    await t.rejects(wallet.signAction({ reference, spends: {} }), { message: /nothing waits to be signed/ })
  })

  t.test(`what is missing or wrong ${way} is said as BRC-100 says it`, async (t) => {
    const scene = await openScene(t)
    const alice = await scene.open('alice')
    await scene.fund(alice, [5000])
    const wallet = await reach(t, alice)

    const poor = await wallet
      .createAction({ description: 'too much', outputs: [output(9000)] })
      .catch((error) => error)
    t.match(poor.message, /4020/)
    if (reach !== overWire)
      t.match(poor, { moreSatoshisNeeded: 4020, totalSatoshisNeeded: 9020, name: 'WERR_INSUFFICIENT_FUNDS' })
    if (poor instanceof sdk.WERR_INSUFFICIENT_FUNDS) t.equal(poor.code, 7)
    if (way === 'directly') t.equal(poor.code, 'ERR_INSUFFICIENT_FUNDS')
    const wrong = await wallet
      .createAction({ description: 'x', outputs: [output(1)] })
      .catch((error) => error)
    t.match(wrong.message, /description/)
    if (reach === overJson) t.equal(wrong.parameter, 'description')
    t.same(await alice.balance(), { confirmed: 5000, unconfirmed: 0, reserved: 0 })
    t.same(await wallet.getNetwork({}), { network: 'testnet' })
    t.match(await wallet.getVersion({}), { version: /^relay-\d+\.\d+\.\d+$/ })
    t.same(await wallet.isAuthenticated({}), { authenticated: true })
    t.same(await wallet.waitForAuthentication({}), { authenticated: true })
    const { height } = await wallet.getHeight({})
    t.equal(height, (await scene.devnet.chain.tip()).height)
    const { header } = await wallet.getHeaderForHeight({ height })
    t.equal(header.length, 160)
    t.same(await wallet.getPublicKey({ identityKey: true }), { publicKey: alice.identity })
    const name = { protocolID: [1, 'relay message'] as [1, string], keyID: '1', counterparty: 'self' }
    const { ciphertext } = await wallet.encrypt({ ...name, plaintext: [1, 2] })
    t.same((await wallet.decrypt({ ...name, ciphertext })).plaintext, [1, 2])
    const { hmac } = await wallet.createHmac({ ...name, data: [1] })
    t.same(await wallet.verifyHmac({ ...name, data: [1], hmac }), { valid: true })
    const { signature } = await wallet.createSignature({ ...name, data: [1] })
    t.same(await wallet.verifySignature({ ...name, data: [1], signature }), { valid: true })
  })
}

async function unlock(
  wallet: WalletMethods,
  draft: sdk.Transaction,
  {
    publicKey,
    satoshis,
    ...key
  }: { publicKey: string; satoshis: number; protocolID: [2, string]; keyID: string; counterparty: string },
): Promise<string> {
  const transaction = parseTransaction(Uint8Array.from(draft.toBinary()))
  const digest = sighash(transaction, 0, { satoshis, script: p2pkh(fromHex(publicKey)) })
  const { signature } = await wallet.createSignature({ ...key, hashToDirectlySign: [...digest] })
  const signed = [...signature, 0x41]
  return toHex(Uint8Array.of(signed.length, ...signed, 33, ...fromHex(publicKey)))
}

t.test(
  'inputs of others: proven by an inputBEEF, signed by their owner, refused when the signature is wrong',
  async (t) => {
    const scene = await openScene(t)
    const { devnet } = scene
    const alice = await scene.open('alice')
    await scene.fund(alice, [50_000])
    const txid = await devnet.node.pay(somebody.script, 20_000)
    const { outputs } = parseTransaction((await devnet.chain.transaction(txid))!) // just paid
    const vout = outputs.findIndex(({ script }) => toHex(script) === lockingScript)
    const given = { outpoint: `${txid}.${vout}`, inputDescription: 'of somebody' }
    const inputBEEF = await beefOf(devnet.chain, txid)
    const args = { description: 'a joint one', outputs: [output(60_000)] }

    const { signableTransaction } = await alice.createAction({
      ...args,
      inputBEEF,
      inputs: [{ ...given, unlockingScriptLength: 107 }],
    })
    const draft = parseTransaction(parseBeefSubject(signableTransaction!.tx))
    const digest = sighash(draft, 0, outputs[vout]!)
    const unlockingScript = toHex(
      unlockP2pkh(Uint8Array.of(...sign(digest, somebody.privateKey), 0x41), somebody.publicKey),
    )
    const { reference } = signableTransaction!
    await t.rejects(
      alice.signAction({ reference, spends: { 0: { unlockingScript }, 1: { unlockingScript } } }),
      {
        name: 'WERR_INVALID_PARAMETER',
      },
    )
    const withoutForkId = unlockingScript.replace(/41(21)(?=0[23][0-9a-f]{64}$)/, '01$1')
    await t.rejects(alice.signAction({ reference, spends: { 0: { unlockingScript: withoutForkId } } }), {
      code: 'ERR_TRANSACTION_REFUSED',
    })
    const signed = await alice.signAction({ reference, spends: { 0: { unlockingScript } } })
    t.equal((await devnet.chain.status(signed.txid!)).state, 'mempool')
    const fee = 20_000 + 50_000 - 60_000 - (await alice.balance()).unconfirmed
    t.ok(fee > 30 && fee < 50, `${fee}`)

    const wrong = { ...args, outputs: [output(1000)], inputs: [{ ...given, unlockingScript }], inputBEEF }
    await t.rejects(alice.createAction(wrong), { code: 'ERR_TRANSACTION_REFUSED' })
    t.equal((await alice.balance()).reserved, 0, 'what it would have cost is free again')
    await t.rejects(alice.createAction({ ...wrong, inputBEEF: [] }), { name: 'WERR_INVALID_PARAMETER' })
    const { inputBEEF: _, ...unproven } = wrong
    await t.rejects(
      alice.createAction({
        ...unproven,
        inputs: [{ ...given, outpoint: `${'22'.repeat(32)}.0`, unlockingScript }],
      }),
      {
        name: 'WERR_INVALID_PARAMETER',
      },
    )
    for (const bad of [{ lockTime: 5 }, { version: 2 }, { options: { noSendChange: [given.outpoint] } }])
      await t.rejects(alice.createAction({ ...args, ...bad }), { name: 'WERR_INVALID_PARAMETER' })
  },
)

t.test('payments to identities and addresses; own keys are counted', async (t) => {
  const scene = await openScene(t)
  const [alice, bob] = [await scene.open('alice'), await scene.open('bob')]
  await scene.fund(alice, [50_000])

  const { tx, outputIndex, remittance, txid } = await alice.payTo({ identity: bob.identity, satoshis: 1000 })
  const outputs: sdk.InternalizeOutput[] = [
    { outputIndex, protocol: 'wallet payment', paymentRemittance: remittance! },
  ]
  await bob.internalizeAction({ tx, outputs, description: 'from alice' })
  t.equal((await bob.balance()).unconfirmed, 1000)

  const address = await bob.receiveAddress()
  t.equal(await bob.receiveAddress(), address, 'the same until it was used')
  const paid = await alice.payTo({ address, satoshis: 2000 })
  t.equal(paid.remittance, undefined)
  const script = parseTransaction((await scene.devnet.chain.transaction(paid.txid))!).outputs[
    paid.outputIndex
  ]!.script
  t.same(script, ownScript(bob.keys, countedKey('receive', 0)))
  await t.rejects(alice.payTo({ address: formatCoinAddress(new Uint8Array(20), 'main'), satoshis: 1 }), {
    code: 'ERR_CONFLICT',
  })
  await t.rejects(alice.payTo({ identity: bob.identity, satoshis: 0 }), { code: 'ERR_MALFORMED' })

  const [first, second] = [await bob.stakeKey(), await bob.stakeKey()]
  t.match(first, { protocolID: [2, 'relay wallet stake'], keyID: '0', counterparty: 'self' })
  t.equal(second.keyID, '1')
  const { publicKey } = await bob.getPublicKey({
    protocolID: [2, 'relay wallet stake'],
    keyID: '0',
    counterparty: 'self',
  })
  t.equal(first.publicKey, publicKey)
  t.equal((await scene.devnet.chain.status(txid)).state, 'mempool')
})

const parseBeefSubject = (tx: sdk.AtomicBEEF): Uint8Array =>
  serializeTransaction(parseBeef(Uint8Array.from(tx)).subject.transaction)
