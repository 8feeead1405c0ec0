/** Payments that come with messages, on a real devnet: what is refused, and that nothing is used twice. */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { p2pkh } from '../../contracts/transaction/script.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256Hex } from '../../market/hash.ts'
import { ANYONE_KEY, anyonePrivateKey } from '../../market/identity.ts'
import { boxCodes } from '../../relay/boxes/codes.ts'
import { parsePayment } from '../../relay/boxes/outputs.ts'
import { BoxPayments } from '../../relay/boxes/payment.ts'
import { findUsed } from '../../relay/store/box-settings.ts'
import { boxUser, openBoxScene, told } from '../fixtures/boxes.ts'
import { withMethods } from '../fixtures/wallet.ts'
import { openTillScene, payWith } from '../fixtures/till.ts'
import { webClient } from '../fixtures/web-files.ts'

t.setTimeout(60_000)
// What the sdk tells of its payments.
for (const method of ['warn', 'info'] as const) t.capture(console, method)
const anyone = new KeyWallet(anyonePrivateKey)
/** The fees of these tests: for this relay, and for each recipient. */
const [delivery, fee] = [10, 5]

interface Part {
  readonly to: string
  readonly satoshis: number
  /** As whom it is paid: as everybody unless said. */
  readonly as?: EmbeddedWallet
  readonly prefix?: string
}

/** A payment as the client of message boxes makes it. */
async function pay(wallet: EmbeddedWallet, parts: readonly Part[], isSent = false) {
  const planned = await Promise.all(
    parts.map(
      async ({ to, satoshis, as = anyone, prefix = randomBytes(32).toString('base64') }, outputIndex) => {
        const names = { derivationPrefix: prefix, derivationSuffix: randomBytes(32).toString('base64') }
        const { publicKey } = await as.getPublicKey({
          protocolID: [2, '3241645161d8'],
          keyID: `${names.derivationPrefix} ${names.derivationSuffix}`,
          counterparty: to,
        })
        const senderIdentityKey = as === anyone ? ANYONE_KEY : wallet.identity
        return {
          made: { lockingScript: toHex(p2pkh(fromHex(publicKey))), satoshis, outputDescription: 'a payment' },
          told: {
            outputIndex,
            protocol: 'wallet payment',
            paymentRemittance: { ...names, senderIdentityKey },
          },
        }
      },
    ),
  )
  const { tx, txid } = await wallet.createAction({
    description: 'pays for a message',
    outputs: planned.map(({ made }) => made),
    options: { randomizeOutputs: false, noSend: !isSent, acceptDelayedBroadcast: false },
  })
  return { tx: [...tx!], outputs: planned.map(({ told }) => told), description: 'for a message', txid: txid! }
}

const is = (t: Test, answer: { status: number; body: any }, code: string, facts: object = {}) => {
  t.match(answer.body, { status: 'error', code, ...facts }, code)
  t.equal(answer.status, (boxCodes as Record<string, number>)[code])
}

t.test('a payment that does not pay what is due, and one that is used again', async (t) => {
  const { relay, person, devnet } = await openBoxScene(t, ['--open-boxes', '--box-fee', `inbox=${delivery}`])
  const wallet = await person('alice', [100_000, 100_000, 100_000, 100_000, 100_000, 100_000, 100_000])
  const [a, b, c] = await Promise.all(['alice', 'bob', 'carol'].map((name) => boxUser(relay, name)))
  if (!a || !b || !c) throw new Error('nobody')
  for (const each of [b, c]) await each.post('/permissions/set', { messageBox: 'inbox', recipientFee: fee })
  const ours = { to: relay.key, satoshis: delivery, as: wallet }
  const his = { to: b.key, satoshis: fee }
  const hers = { to: c.key, satoshis: fee }
  const message = { messageId: 'one' }
  const both = { messageId: ['1', '2'], recipients: [b.key, c.key] }
  const to = (payment: unknown, fields: Record<string, unknown> = message) => a.send(b, fields, payment)

  is(t, await to(undefined), 'ERR_MISSING_PAYMENT_TX')
  is(t, await to({ tx: [] }), 'ERR_MISSING_PAYMENT_TX')
  is(t, await to({ tx: [256], outputs: [] }), 'ERR_INVALID_PAYMENT')
  is(t, await to({ tx: 'AAAA', outputs: [] }), 'ERR_INVALID_PAYMENT', { broadcast: false })
  const paid = await pay(wallet, [ours, his, hers])
  const { outputs } = paid
  const part = (...indexes: number[]) => ({ ...paid, outputs: indexes.map((at) => outputs[at]) })
  is(t, await to(part()), 'ERR_MISSING_DELIVERY_OUTPUT')
  is(t, await to(part(1)), 'ERR_MISSING_DELIVERY_OUTPUT')
  is(t, await to(part(0)), 'ERR_MISSING_RECIPIENT_OUTPUTS', { outputsRequired: 1 })
  is(t, await to(part(0, 1), both), 'ERR_INSUFFICIENT_OUTPUTS', { outputsRequired: 2, outputs: 1 })
  is(t, await to(part(0, 2)), 'ERR_INVALID_RECIPIENT_PAYMENT', { recipient: b.key })
  is(t, await to(part(0, 2, 1), both), 'ERR_INVALID_RECIPIENT_PAYMENT')
  is(t, await to(part(0, 1, 2)), 'ERR_INVALID_PAYMENT')
  is(t, await to(part(0, 0)), 'ERR_INVALID_PAYMENT')
  const little = await pay(wallet, [{ ...ours, satoshis: delivery - 1 }, his])
  is(t, await to(little), 'ERR_INSUFFICIENT_PAYMENT', { satoshisRequired: delivery })
  const mean = await pay(wallet, [ours, { ...his, satoshis: fee - 1 }])
  is(t, await to(mean), 'ERR_INSUFFICIENT_RECIPIENT_PAYMENT', { satoshis: fee - 1 })
  const broken = [...paid.tx]
  broken[broken.length - 200]! ^= 1
  t.match(
    (await to({ ...paid, tx: broken }, both)).body.code,
    /^ERR_(INVALID_PAYMENT|MISSING_DELIVERY_OUTPUT|INSUFFICIENT_PAYMENT)$/,
  )
  t.same(told(await b.list()), [], 'nothing was stored')

  const offer = await a.post('/deposit', { satoshis: delivery })
  const prefix = offer.headers.get('x-bsv-payment-derivation-prefix')!
  is(t, await to(await pay(wallet, [{ ...ours, prefix }, his])), 'ERR_INVALID_PAYMENT')

  const [first, second] = await Promise.all([to(paid, both), to(paid, both)])
  const codes = [first, second].map(({ body }) => body.code ?? 'success').sort()
  t.ok(codes.includes('success'))
  if (codes[0] !== 'success') t.equal(codes[0], 'ERR_PAYMENT_IN_PROGRESS')
  t.same(told(await b.list()), ['1 "hello"'])
  t.equal((await devnet.chain.status(paid.txid)).state, 'mempool', 'the relay has sent it')
  const [got] = (await b.list()).body.messages
  const { payment } = JSON.parse(got.body)
  t.same(payment, { tx: paid.tx, outputs: [outputs[1]], description: 'for a message' })
  await b.ack('1')
  t.equal((await to(paid, both)).status, 200, 'the same again has the same answer')
  t.same(told(await b.list()), [], 'but is not delivered again')
  is(t, await to(paid, { ...both, body: 'other' }), 'ERR_PAYMENT_REPLAYED', { txid: paid.txid })
  is(t, await c.send(b, {}, paid), 'ERR_PAYMENT_REPLAYED')

  await a.send(c, { messageId: 'free', messageBox: 'free' })
  t.equal((await a.send(c, { messageId: 'f', messageBox: 'free' }, { tx: [], outputs: [] })).status, 200)
  await b.post('/permissions/set', { messageBox: 'inbox', recipientFee: 0 })
  const named = await pay(wallet, [ours])
  const one = await to(named, { messageId: undefined })
  t.equal((await to(named, { messageId: undefined })).body.messageId, one.body.messageId, 'a name it keeps')
  await b.post('/permissions/set', { messageBox: 'free', recipientFee: fee })
  const gift = await pay(wallet, [his])
  t.equal((await to(gift, { messageBox: 'free', messageId: 'g' })).status, 200, 'a recipient is paid alone')
  t.equal((await devnet.chain.status(gift.txid)).state, 'mempool')

  const spent = await pay(wallet, [ours])
  await b.ack(one.body.messageId)
  t.equal(
    (await to({ ...spent, tx: Buffer.from(spent.tx).toString('base64') }, { messageId: 'b64' })).status,
    200,
  )
})

t.test('a network that does not answer, or says no', async (t) => {
  const scene = await openTillScene(t)
  const wallet = await scene.payer('payer', [50_000, 50_000, 50_000])
  const state = { broadcast: 'works', height: 'works' }
  const away = () => Promise.reject(new MarketError('ERR_CHAIN_UNAVAILABLE', 'no answer'))
  const { chain } = scene.devnet
  const { till, store } = await scene.counter({
    chain: withMethods(chain, {
      currentHeight: () => (state.height === 'works' ? chain.currentHeight() : away()),
      async broadcast(bytes) {
        if (state.broadcast === 'away') return away()
        if (state.broadcast === 'broken') throw new Error('broken')
        if (state.broadcast === 'no')
          throw new MarketError('ERR_TRANSACTION_REFUSED', 'spent', { extras: { refusal: 'conflict' } })
        return chain.broadcast(bytes)
      },
    }),
  })
  const payments = new BoxPayments({ store, till, admit: () => undefined })
  const sender = wallet.identity
  const dues = { delivery, recipients: [] }
  const ours = { to: scene.relay.identity, satoshis: delivery, as: wallet }
  const { tx, outputs, txid } = await pay(wallet, [ours])
  const order = { sender, dues, attached: parsePayment({ tx, outputs }), what: sha256Hex('one') }
  const settle = (given = order) => payments.settle(given)

  state.height = 'away'
  await t.rejects(settle(), { code: 'ERR_PAYMENT_VALIDATION_UNAVAILABLE', extras: { broadcast: false } })
  t.equal(findUsed(store, txid), undefined, 'nothing is remembered that was not verified')
  state.height = 'works'
  state.broadcast = 'no'
  await t.rejects(settle(), { code: 'ERR_PAYMENT_CONFLICT', extras: { txid } })
  t.equal(findUsed(store, txid), undefined)
  state.broadcast = 'broken'
  await t.rejects(settle(), { code: 'ERR_INTERNALIZE_FAILED' })
  state.broadcast = 'away'
  await t.rejects(settle(), { code: 'ERR_PAYMENT_RECOVERY_UNAVAILABLE', extras: { broadcast: true } })
  t.match(findUsed(store, txid), { state: 'taken', satoshis: delivery })
  await t.rejects(settle({ ...order, what: sha256Hex('other') }), { code: 'ERR_PAYMENT_REPLAYED' })
  state.broadcast = 'works'
  const [first, second] = await Promise.allSettled([settle(), settle()])
  t.match(first, { status: 'fulfilled', value: 'sent' })
  t.match(second, { status: 'rejected', reason: { code: 'ERR_PAYMENT_IN_PROGRESS' } })
  t.equal((await chain.status(txid)).state, 'mempool')

  const credit = await payWith(wallet, { till, satoshis: delivery })
  const remittance = { derivationPrefix: credit.derivationPrefix, derivationSuffix: credit.derivationSuffix }
  const output = {
    ...{ outputIndex: 0, protocol: 'wallet payment' },
    paymentRemittance: { ...remittance, senderIdentityKey: sender },
  }
  const twice = parsePayment({ tx: credit.transaction, outputs: [output] })
  await t.rejects(settle({ ...order, attached: twice }), { code: 'ERR_INVALID_PAYMENT', message: /credit/ })
  const none = new BoxPayments({ store, till: undefined, admit: () => undefined })
  await t.rejects(none.settle({ ...order, what: sha256Hex('one') }), { code: 'ERR_PAYMENT_UNAVAILABLE' })
})

t.test('who has no credit pays for what it costs, by 402', async (t) => {
  const { relay, person } = await openBoxScene(t, ['--price', 'storageGBDay=10000000'])
  const wallet = await person('alice')
  const [client, bob] = [webClient(relay, wallet), await boxUser(relay, 'bob')]
  const message = { recipient: bob.key, messageBox: 'inbox', body: 'hello', messageId: '1' }
  const sent = await client.ask('POST', '/sendMessage', JSON.stringify({ message }))
  t.equal(sent.status, 200, sent.text)
  t.ok(Number(sent.headers.get('x-bsv-payment-satoshis-paid')) > 0)
  t.same(told(await bob.list()), ['1 "hello"'])
  const again = await client.ask(
    'POST',
    '/sendMessage',
    JSON.stringify({ message: { ...message, messageId: '2' } }),
  )
  t.equal(again.status, 200, 'again for the next')
  await bob.post('/permissions/set', { messageBox: 'inbox', recipientFee: fee })
  const his = { to: bob.key, satoshis: fee }
  const both = { message: { ...message, messageId: '3' }, payment: await pay(wallet, [his]) }
  const paid = await client.ask('POST', '/sendMessage', JSON.stringify(both))
  t.equal(paid.status, 200, paid.text)
  t.equal(told(await bob.list()).length, 3)
})
