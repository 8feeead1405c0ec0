/** docs/protocol.md §14.4: what hosts ask for, out of what was paid for a delivery: to the satoshi, once, and never more. */
import { randomBytes } from 'node:crypto'
import { LookupResolver, type WalletInterface } from '@bsv/sdk'
import { MessageBoxClient } from '@bsv/message-box-client'
import t from 'tap'
import { p2pkh } from '../../contracts/transaction/script.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { dayMs } from '../../market/units.ts'
import { control } from '../../relay/operator/control.ts'
import { DailyBudget } from '../../relay/phip/daily-budget.ts'
import { balanceOf, boxUser, told } from '../fixtures/boxes.ts'
import { openFederation, type TestHost, until } from '../fixtures/federation.ts'
import { openOtherHost, placeOf, refuses, sells, taken } from '../fixtures/other-host.ts'
import { keysOf } from '../fixtures/wallet.ts'

t.setTimeout(60_000)
for (const method of ['warn', 'info', 'log', 'error'] as const) t.capture(console, method)
const prices = ['--price', 'storageGBDay=1000000']
/** Satoshi that host A asks for a delivery, by box. */
const fees = { inbox: 500, tiny: 1 }

t.test('what the operator adds has an end each day', async (t) => {
  const clock = { ms: 20_000 * dayMs - 1 }
  const budget = new DailyBudget(5, () => clock.ms)
  const given = (sender: string, times: number) =>
    Array.from({ length: times }, () => budget.take(sender)).filter((satoshi) => satoshi === 5).length
  for (const day of ['one day', 'the next']) {
    t.equal(given('alice', 101), 100, day)
    t.equal(budget.take('alice'), 0)
    for (let at = 0; at < 8; at++) t.equal(given(`sender ${at}`, 100), 100)
    t.equal(given('bob', 99), 99, 'another has his own')
    t.same([budget.take('carol'), budget.take('carol'), budget.take('bob')], [5, 0, 0], 'but all have an end')
    clock.ms += day === 'one day' ? 1 : 0
  }
  t.equal(new DailyBudget(0, () => clock.ms).take('alice'), 0)
})

t.test('hosts that sell', async (t) => {
  const places = [await placeOf('c'), await placeOf('d')]
  const sold = [...prices, ...Object.entries(fees).flatMap(([box, fee]) => ['--box-fee', `${box}=${fee}`])]
  const scene = await openFederation(t, { a: [...sold, ...places.flatMap(({ args }) => args)], b: prices })
  const { a, b } = scene
  const [c, d] = [await openOtherHost(t, scene, places[0]!), await openOtherHost(t, scene, places[1]!)]
  const order = (host: TestHost, name: string, args: object = {}) =>
    control(`${host.data}/control.json`, name, args) as Promise<any>
  const grant = (host: TestHost, name: string, satoshi: number) =>
    order(host, 'grant', { key: keysOf(name).identity, satoshi })
  const coinsOf = async (host: TestHost): Promise<number> => (await order(host, 'wallet-balance')).satoshis
  const spentBy = async (host: TestHost) => {
    const { entries } = await order(host, 'wallet-history', { limit: 100 })
    return entries
      .filter(({ description }: any) => /^a message brought to /.test(description))
      .map(({ satoshis }: any) => -satoshis)
  }
  const areBooksGood = async () => {
    for (const host of [a, b])
      t.same((await order(host, 'check')).differences, [], `the books of ${host.name}`)
  }
  const accountOf = async (at: TestHost, key: string) => {
    const { purses } = await order(at, 'account', { key, limit: 0 })
    const sum = (name: string) => purses.reduce((total: number, purse: any) => total + Number(purse[name]), 0)
    return { received: sum('received'), available: sum('available') }
  }
  await grant(b, 'bob', 1)
  const bob = await scene.resident('bob', b)
  const wallet = await scene.open('alice')
  await scene.fund(wallet, Array(8).fill(20_000))
  const client = new MessageBoxClient({
    ...{ host: a.url, walletClient: wallet as unknown as WalletInterface, networkPreset: 'local' },
  })
  const local = { networkPreset: 'local' as const, hostOverrides: { ls_messagebox: [a.url] } }
  Object.assign(client, { lookupResolver: new LookupResolver(local) })
  /** The unmodified client pays what it is asked for. */
  const pay = (name: string, messageBox: keyof typeof fees, messageId?: string) => {
    const to = { recipient: keysOf(name).identity, messageBox, body: `${messageBox} ${messageId}` }
    return client.sendMessage(
      { ...to, skipEncryption: true, checkPermissions: true, ...(messageId && { messageId }) },
      a.url,
    )
  }

  await t.test('a host is paid out of the fee for the delivery', async (t) => {
    const before = { a: await coinsOf(a), b: await coinsOf(b), alice: await balanceOf(wallet) }
    const sent = await pay('bob', 'inbox', 'one')
    t.match(sent, {
      status: 'success',
      results: [{ delivery: 'delivered', hosts: [{ host: b.domain }] }],
    } as any)
    t.same(told(await bob.list()), ['one "inbox one"'])
    const [spent] = await spentBy(a)
    const { received } = await accountOf(b, a.key)
    t.ok(received > 0 && received < spent && spent <= fees.inbox)
    t.equal(await coinsOf(b), before.b + received, 'what A has as credit at B, B has in coins')
    t.equal(await coinsOf(a), before.a + fees.inbox - spent)
    const miners = before.alice - (await balanceOf(wallet)) - fees.inbox
    t.ok(miners > 0 && miners < 100)
    await areBooksGood()
  })

  await t.test('what costs more than the fee is refused, and costs nothing', async (t) => {
    const before = { coins: await coinsOf(a), credit: await accountOf(b, a.key) }
    await t.rejects(pay('bob', 'tiny', 'two'), /502/)
    t.equal(await coinsOf(a), before.coins + fees.tiny)
    t.same(await accountOf(b, a.key), before.credit)
    t.same(told(await bob.list('tiny')), [])
  })

  await t.test('what leaves is paid for as it is kept, with all that was signed', async (t) => {
    const poor = await boxUser(a, 'poor')
    const asked = async (recipient: { key: string }) => {
      const large = { messageBox: 'free', junk: 'x'.repeat(1_100_000) }
      const { status, headers } = await poor.send(recipient, large)
      t.equal(status, 402)
      return Number(headers.get('x-bsv-payment-satoshis-required'))
    }
    t.ok((await asked(bob)) > 33_000, '30 days of 1.1 MB')
    t.ok((await asked({ key: keysOf('nobody').identity })) < 1000, 'of what stays, the message and a hash')
  })

  await t.test('what its sender paid for storage is released when nobody takes it', async (t) => {
    await grant(a, 'alice', 10_000)
    const alice = await boxUser(a, 'alice')
    const before = await accountOf(a, alice.key)
    const refused = await alice.send(bob, { messageId: 'unpaid', messageBox: 'free' })
    t.match(refused, {
      status: 502,
      body: {
        code: 'ERR_DELIVERY_FAILED',
        results: [{ hosts: [{ host: b.domain, status: 'refused', code: 'ERR_PAYMENT_REQUIRED' }] }],
      },
    })
    t.equal((await accountOf(a, alice.key)).available, before.available)
    t.same(told(await (await boxUser(a, 'bob')).list('free')), [])
  })

  await t.test('several hosts have one budget', async (t) => {
    await Promise.all([c, d].map((host) => host.takes([keysOf('una')], a)))
    c.respond = d.respond = sells(300)
    const before = await coinsOf(a)
    const sent: any = await pay('una', 'inbox')
    t.same(sent.results[0].hosts.map(({ status, code }: any) => code ?? status).sort(), [
      'ERR_PAYMENT_REQUIRED',
      'delivered',
    ])
    const [spent] = await spentBy(a)
    t.ok(spent > 300 && spent <= fees.inbox)
    t.equal(await coinsOf(a), before + fees.inbox - spent)
  })

  await t.test('a payment for what nobody took pays for the same again', async (t) => {
    await d.takes([keysOf('wim')], a)
    const alice = await boxUser(a, 'alice')
    const payment = await payFor(wallet, a.key, fees.inbox)
    const send = (messageId = 'paid once') =>
      alice.send({ key: keysOf('wim').identity }, { messageId }, payment)
    const before = { coins: await coinsOf(a), asked: d.asked.length }
    const asked = () => d.asked.length - before.asked
    d.respond = refuses(403, 'ERR_NOT_NOW')
    for (const times of [1, 2]) {
      t.match(await send(), {
        status: 502,
        body: { results: [{ hosts: [{ status: 'refused', code: 'ERR_NOT_NOW' }] }] },
      })
      t.equal(asked(), times)
    }
    t.match(await send('another'), { status: 409, body: { code: 'ERR_PAYMENT_REPLAYED' } })
    d.respond = taken
    t.match(await send(), { status: 200, body: { results: [{ delivery: 'delivered' }] } })
    t.equal(asked(), 3)
    t.match(await send(), { status: 200 })
    t.match(await send('another'), { status: 409, body: { code: 'ERR_PAYMENT_REPLAYED' } })
    t.equal(asked(), 3, 'it was delivered once')
    t.equal(await coinsOf(a), before.coins + fees.inbox, 'and paid once')
    t.same(told(await (await boxUser(a, 'wim')).list()), [])
    await areBooksGood()
  })

  await t.test('who was paid and did not answer is not paid again', async (t) => {
    await c.takes([keysOf('una'), keysOf('vera')], a)
    c.respond = sells(200, (reply) => reply.raw.destroy())
    const before = await spentBy(a)
    const sent: any = await pay('vera', 'inbox', 'paid')
    t.match(sent, { status: 'success', results: [{ delivery: 'waiting' }] })
    const after = await spentBy(a)
    t.equal(after.length, before.length + 1)
    const asked = c.asked.length
    await a.stop()
    await a.start()
    await until(() => c.asked.length > asked)
    await a.stop()
    c.respond = sells(250)
    await a.start()
    await until(
      async () =>
        (await boxUser(a, 'alice').then((user) => user.list('delivery_reports'))).body.messages.length === 1,
    )
    const payments = c.asked.filter(({ body }) => body.messageId === 'paid').map(({ payment }) => payment)
    t.same(payments, [undefined, payments[1], payments[1], payments[1]], 'the same payment each time')
    t.type(payments[1], 'string')
    t.same(await spentBy(a), after)
  })

  await t.test('what the operator adds', async (t) => {
    await a.stop()
    await a.start(...sold, ...places.flatMap(({ args }) => args), '--phip-budget', '1000')
    const alice = await boxUser(a, 'alice')
    const [coins, before] = [await coinsOf(a), await spentBy(a)]
    t.match(await alice.send(bob, { messageId: 'gift', messageBox: 'free' }), {
      ...{ status: 200, body: { results: [{ delivery: 'delivered' }] } },
    })
    t.same(told(await bob.list('free')), ['gift "hello"'])
    const [spent, ...older] = await spentBy(a)
    t.same(older, before)
    t.ok(spent <= 1000)
    t.equal(await coinsOf(a), coins - spent)
    await areBooksGood()
  })
})

/** A payment for a delivery by this relay, which sends it. */
async function payFor(wallet: EmbeddedWallet, relay: string, satoshis: number) {
  const [derivationPrefix, derivationSuffix] = [randomBytes(32), randomBytes(32)].map((bytes) =>
    bytes.toString('base64'),
  )
  const name = {
    protocolID: [2, '3241645161d8'] as [2, string],
    keyID: `${derivationPrefix} ${derivationSuffix}`,
  }
  const { publicKey } = await wallet.getPublicKey({ ...name, counterparty: relay })
  const { tx } = await wallet.createAction({
    description: 'pays for a message',
    outputs: [{ lockingScript: toHex(p2pkh(fromHex(publicKey))), satoshis, outputDescription: 'a payment' }],
    options: { randomizeOutputs: false, noSend: true },
  })
  const paymentRemittance = { derivationPrefix, derivationSuffix, senderIdentityKey: wallet.identity }
  return { tx: [...tx!], outputs: [{ outputIndex: 0, protocol: 'wallet payment', paymentRemittance }] }
}
