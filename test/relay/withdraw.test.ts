/** Credit that is paid back: limits, repeats, poor relays, refusals, and the native request for it. */
import { join } from 'node:path'
import t from 'tap'
import { sha256Hex } from '../../market/hash.ts'
import type { Use } from '../../relay/till/till.ts'
import { serveLies, nothing } from '../fixtures/chain.ts'
import {
  bringIn,
  bytesOf,
  type Counter,
  mineInstead,
  openTillScene,
  payWith,
  type TillScene,
} from '../fixtures/till.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { openOrCreateKeyFile } from '../../contracts/wallet/key-file.ts'
import { readConfig } from '../../relay/config.ts'
import { keyFile, storeDirectory, walletDirectory } from '../../relay/data-directory.ts'
import { Operator } from '../../relay/operator/operator.ts'
import { Pricing } from '../../relay/pricing.ts'
import { openDatabase } from '../../relay/store/database.ts'
import { metaKey } from '../../relay/store/keys.ts'
import { decodeMeta, restoredMeta, writeMeta } from '../../relay/store/meta.ts'
import { startTestRelay } from '../fixtures/relay.ts'
import { post, sealFor } from '../fixtures/wire.ts'
import { fromBase64, toHex } from '../../market/bytes.ts'
import { parseBeef, verifyBeef } from '../../contracts/transaction/beef.ts'
import { bookReceived } from '../../relay/store/ledger.ts'
import { findWithdrawal } from '../../relay/store/withdrawals.ts'

t.setTimeout(120_000)

const use: Use = { price: 1, what: 'deposit' }
const id = (name: string) => sha256Hex(name)
const fee = 23

async function deposit(
  scene: TillScene,
  counter: Counter,
  payer: EmbeddedWallet,
  satoshis: number,
  isMined = true,
) {
  const payment = await payWith(payer, { satoshis, till: counter.till })
  await counter.till.take(payer.identity, payment, use)
  if (!isMined) return
  await scene.devnet.node.mine(1)
  await counter.pass()
}

t.test('what is in blocks can be withdrawn, once for each order, less the fee', async (t) => {
  const scene = await openTillScene(t)
  const counter = await scene.counter()
  const { till, entries, differences, pass } = counter
  const alice = await scene.payer('alice', [20_000, 20_000])
  const owner = alice.identity
  await t.rejects(till.withdraw({ owner, id: id('none') }), {
    code: 'ERR_INSUFFICIENT_FUNDS',
    extras: { available: '0', fee: String(fee) },
  })
  await deposit(scene, counter, alice, 8000)
  await deposit(scene, counter, alice, 5000, false)
  t.equal(till.creditOf(owner).available, 13_000)
  for (const [satoshis, code] of [
    [8001n, 'ERR_INSUFFICIENT_FUNDS'],
    [BigInt(fee), 'ERR_MALFORMED'],
    [0n, 'ERR_MALFORMED'],
    [10n ** 17n, 'ERR_MALFORMED'],
  ] as const)
    await t.rejects(till.withdraw({ owner, id: id('bad'), satoshis }), { code }, String(satoshis))

  const first = await till.withdraw({ owner, id: id('first'), satoshis: 3000 })
  t.match(first, { satoshis: '3000', fee: String(fee), txid: /^[0-9a-f]{64}$/ })
  t.same(
    await till.withdraw({ owner, id: id('first'), satoshis: 5 }),
    first,
    'the same id is the same withdrawal',
  )
  t.ok(((await scene.devnet.call('getrawmempool')) as string[]).includes(first.txid))
  await bringIn(alice, scene.relay.identity, first)
  t.match(alice.store.coin(`${first.txid}.0`), { satoshis: 3000 - fee, state: 'unproven' })
  const rest = await till.withdraw({ owner, id: id('all') })
  t.equal(rest.satoshis, '5000', 'all but what is in no block yet')
  await t.rejects(till.withdraw({ owner, id: id('more') }), {
    code: 'ERR_INSUFFICIENT_FUNDS',
    message: /waits/,
    extras: { available: '0' },
  })
  await scene.devnet.node.mine(1)
  await pass()
  t.equal((await till.withdraw({ owner, id: id('more') })).satoshis, '5000')
  t.same(till.creditOf(owner), { available: 0, pending: 0 })
  t.match(
    (await entries(owner)).filter((entry) => entry.startsWith('returned')),
    [
      `returned withdrawal ${id('first')} -3000`,
      `returned withdrawal ${id('all')} -5000`,
      `returned withdrawal ${id('more')} -5000`,
    ],
  )
  await scene.devnet.node.mine(110)
  await pass()
  await pass()
  const later = await till.withdraw({ owner, id: id('first') })
  t.same({ ...later, tx: first.tx }, first, 'for ever')
  const { subject, members } = parseBeef(fromBase64(later.tx))
  t.match([subject.txid, members.size], [first.txid, 1], 'in a block by now')
  t.same(await differences(), [])
})

t.test('many at once never come to more than there is', async (t) => {
  const scene = await openTillScene(t)
  const counter = await scene.counter()
  const alice = await scene.payer('alice', [20_000, 20_000])
  const bob = await scene.payer('bob', [20_000])
  await deposit(scene, counter, bob, 15_000)
  await deposit(scene, counter, alice, 8000)
  const owner = alice.identity
  const orders = Array.from({ length: 12 }, (_, n) => ({ owner, id: id(`${n % 6}`), satoshis: 2000 }))
  const done = await Promise.allSettled(orders.map((order) => counter.till.withdraw(order)))
  const paid = done.flatMap((result) => (result.status === 'fulfilled' ? [result.value.txid] : []))
  t.equal(new Set(paid).size, 4)
  t.equal(paid.length, 8, 'each asked for twice')
  for (const result of done)
    if (result.status === 'rejected') t.match(result.reason, { code: 'ERR_INSUFFICIENT_FUNDS' })
  t.equal(counter.till.creditOf(owner).available, 0)
  t.equal(counter.till.creditOf(bob.identity).available, 15_000)
  t.same(await counter.differences(), [])
})

t.test('a relay without coins at hand leaves the credit as it is, and pays when it has some', async (t) => {
  const scene = await openTillScene(t)
  const counter = await scene.counter()
  const { till, wallet, entries, differences, pass } = counter
  const alice = await scene.payer('alice', [20_000])
  const owner = alice.identity
  await deposit(scene, counter, alice, 9000)
  await wallet.payTo({ identity: alice.identity, satoshis: 8000 })
  const order = { owner, id: id('poor'), satoshis: 4000 }
  const orders = Array.from({ length: 10 }, (_, n) => ({ ...order, id: id(`poor ${n}`) }))
  for (const one of [order, order, ...orders])
    await t.rejects(till.withdraw(one), { code: 'ERR_BUSY', message: /too few coins/ })
  t.equal(till.creditOf(owner).available, 9000)
  t.equal((await entries(owner)).length, 1, 'nothing is booked, however often it is asked for')
  for (const one of orders)
    t.equal(findWithdrawal(counter.store, { owner, hash: one.id }), undefined, 'nor kept')
  await t.rejects(till.withdraw({ owner, id: id('much'), satoshis: 9001 }), {
    code: 'ERR_INSUFFICIENT_FUNDS',
  })
  await pass()
  await scene.fund(wallet, [20_000])
  t.equal((await till.withdraw(order)).satoshis, '4000')
  t.equal(till.creditOf(owner).available, 5000)
  t.same((await entries(owner)).slice(1), [`returned withdrawal ${order.id} -4000`])
  t.same(await differences(), [])
})

t.test('coins that suffice for one of two who ask at once', async (t) => {
  const scene = await openTillScene(t)
  const { till, wallet, store, differences, pass } = await scene.counter()
  const owners = [await scene.payer('alice', [20_000]), await scene.payer('bob', [20_000])]
  for (const { identity: owner } of owners)
    await store.commit((batch) =>
      bookReceived(batch, { owner, purse: 'credit', satoshi: 4000, note: 'operator' }),
    )
  await scene.fund(wallet, [5000])
  const paid = await Promise.allSettled(
    owners.map(({ identity: owner }) => till.withdraw({ owner, id: id('both') })),
  )
  t.same(paid.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  t.match(
    paid.find(({ status }) => status === 'rejected'),
    { reason: { code: 'ERR_BUSY', message: /too few coins/ } },
  )
  t.same(owners.map(({ identity }) => till.creditOf(identity).available).sort(), [0, 4000])
  await scene.devnet.node.mine(1)
  await pass()
  t.same(await differences(), [])
})

t.test('after a reorganisation the same withdrawal is proven by the blocks that are left', async (t) => {
  const scene = await openTillScene(t)
  const counter = await scene.counter()
  const { till, pass, store } = counter
  const alice = await scene.payer('alice', [20_000])
  await deposit(scene, counter, alice, 9000)
  const order = { owner: alice.identity, id: id('moved'), satoshis: 4000 }
  const early = await till.withdraw(order)
  await scene.devnet.node.reorganize(1)
  await scene.devnet.node.mine(1)
  await pass()
  await t.rejects(verifyBeef(parseBeef(fromBase64(early.tx)), scene.devnet.chain), {
    code: 'ERR_TRANSACTION_REFUSED',
  })
  const late = await till.withdraw(order)
  t.same({ ...late, tx: early.tx }, early)
  await bringIn(alice, scene.relay.identity, late)
  t.equal(alice.store.coin(`${late.txid}.0`)?.satoshis, 4000 - fee)
  t.equal(findWithdrawal(store, { owner: order.owner, hash: order.id })?.tx, early.tx, 'kept as it was sent')
})

t.test(
  "a withdrawal whose coins are spent by another copy of the relay's wallet is booked back",
  async (t) => {
    const scene = await openTillScene(t)
    const counter = await scene.counter()
    const { till, wallet, differences, pass } = counter
    const alice = await scene.payer('alice', [20_000])
    const owner = alice.identity
    await deposit(scene, counter, alice, 9000)
    await scene.copy('relay', 'copy')
    const twin = await scene.counter({ folder: 'copy' })
    const other = await twin.wallet.createAction({
      description: 'spent elsewhere',
      outputs: [{ lockingScript: toHex(Uint8Array.of(0x51)), satoshis: 100, outputDescription: 'elsewhere' }],
      options: { noSend: true },
    })
    const order = { owner, id: id('spent'), satoshis: 4000 }
    const paid = await till.withdraw(order)
    t.equal(till.creditOf(owner).available, 5000)
    await mineInstead(scene.devnet, bytesOf(twin.wallet, other.txid!))
    await pass()
    t.equal(till.creditOf(owner).available, 9000)
    t.same(await differences(), [])
    await scene.fund(wallet, [20_000])
    const again = await till.withdraw(order)
    t.not(again.txid, paid.txid)
    t.equal(till.creditOf(owner).available, 5000)
    t.same(await differences(), [])
  },
)

t.test('a network that takes it and loses its answer', async (t) => {
  const scene = await openTillScene(t)
  let isArmed = false
  let isAway = false
  const chain = await serveLies(t, scene.devnet, (method, result) => {
    isAway ||= isArmed && method === 'sendrawtransaction'
    return isAway ? nothing : result
  })
  const counter = await scene.counter({ chain })
  const { till, differences, pass, entries } = counter
  const alice = await scene.payer('alice', [20_000])
  const owner = alice.identity
  await deposit(scene, counter, alice, 9000)
  const order = { owner, id: id('lost'), satoshis: 4000 }
  isArmed = true
  for (let n = 0; n < 2; n++)
    await t.rejects(till.withdraw(order), { code: 'ERR_CHAIN_UNAVAILABLE', extras: { retryAfterMs: Number } })
  t.equal(till.creditOf(owner).available, 5000, 'it is out of the purse, and goes on by itself')
  isArmed = isAway = false
  await pass()
  const paid = await till.withdraw(order)
  t.same(await till.withdraw(order), paid)
  t.same(await scene.devnet.call('getrawmempool'), [paid.txid])
  t.equal((await entries(owner)).filter((entry) => entry.startsWith('returned')).length, 1)
  t.same(await differences(), [])
})

t.test(
  'the native request: the same signed one gets the same withdrawal, also after a restart',
  async (t) => {
    const scene = await openTillScene(t)
    const data = join(scene.directory, 'data')
    const args = ['--open', '--chain', `devnet:${scene.devnet.url}`, '--zero-conf', '6000']
    let relay = await startTestRelay(data, { args })
    const { key } = relay
    const info = (await (await fetch(`${relay.url}/.well-known/relay`)).json()) as any
    t.ok(info.features.includes('withdraw'))
    const alice = await scene.payer('alice', [20_000])
    const early = await sealFor(relay, alice.keys, { type: 'withdraw', satoshis: '4000' })
    t.match((await post(relay.url, early.text)).reply, { code: 'ERR_INSUFFICIENT_FUNDS', available: '0' })
    await relay.close()
    const keys = await openOrCreateKeyFile(keyFile(data), {})
    const of = { keys, store: storeDirectory(data), coins: walletDirectory(data) }
    const counter = await scene.counter({ of })
    const payment = await payWith(alice, { satoshis: 9000, till: counter.till, to: key })
    await counter.till.take(alice.identity, payment, use)
    await scene.devnet.node.mine(1)
    await counter.pass()
    await counter.close()

    relay = await startTestRelay(data, { args })
    const request = await sealFor(relay, alice.keys, { type: 'withdraw', satoshis: '4000' })
    const first = (await post(relay.url, request.text)).reply
    t.match(first, { type: 'reply', re: request.hash, result: { satoshis: '4000', fee: String(fee) } })
    const repeats = await Promise.all(Array.from({ length: 5 }, () => post(relay.url, request.text)))
    for (const { reply } of repeats) t.same(reply.result, first.result)
    await relay.close()
    relay = await startTestRelay(data, { args })
    t.teardown(() => relay.close())
    t.same((await post(relay.url, request.text)).reply.result, first.result)
    const everything = await sealFor(relay, alice.keys, { type: 'withdraw' })
    const rest = (await post(relay.url, everything.text)).reply.result
    t.equal(rest.satoshis, '5000')
    for (const paid of [first.result, rest]) await bringIn(alice, key, paid)
    const none = await sealFor(relay, KeyWallet.random(), { type: 'withdraw' })
    for (let n = 0; n < 2; n++)
      t.match((await post(relay.url, none.text)).reply, { code: 'ERR_INSUFFICIENT_FUNDS' }, 'never a replay')
  },
)

t.test('a restored relay pays nothing back before its operator says so', async (t) => {
  const scene = await openTillScene(t)
  const counter = await scene.counter()
  const alice = await scene.payer('alice')
  await deposit(scene, counter, alice, 20_000)
  await counter.close()
  const folder = join(scene.directory, 'relay', 'store')
  const database = await openDatabase(folder)
  const meta = decodeMeta(database.get(metaKey('store'))!)
  await writeMeta(database, restoredMeta(meta, { now: scene.clock.now, lastPlace: 0 }))
  await database.close()

  const { till, store, wallet, entries, close } = await scene.counter()
  const order = { owner: alice.identity, id: id('first') }
  await t.rejects(till.withdraw(order), { code: 'ERR_BUSY', message: /restored from a backup/ })
  t.notOk((await entries(alice.identity)).some((entry) => entry.startsWith('returned')))
  const parts = {
    store,
    pricing: await Pricing.open(store, { configured: undefined, open: false }),
    data: folder,
  }
  const operator = new Operator({ ...parts, now: () => scene.clock.now, open: false })
  await operator.execute('confirm-restore', {}, new AbortController().signal)

  t.equal((await till.withdraw(order)).satoshis, '20000')
  t.equal((await wallet.balance()).confirmed, 0)
  await close()
  const again = await scene.counter()
  t.match(await again.till.withdraw(order), { satoshis: '20000' })
})

t.test('--zero-conf takes satoshi', async (t) => {
  const read = (...args: string[]) => readConfig(['--data', 'folder', ...args], {}).zeroConfLimit
  t.equal(read(), 10_000)
  t.equal(read('--zero-conf', '0'), 0)
  for (const word of ['1.5', 'much'])
    t.throws(() => read('--zero-conf', word), { message: '--zero-conf takes a whole number of satoshi' })
})

t.test('a relay without a chain pays nothing in or out', async (t) => {
  const relay = await startTestRelay(t.testdir())
  t.teardown(() => relay.close())
  const info = (await (await fetch(`${relay.url}/.well-known/relay`)).json()) as any
  t.notOk(info.features.includes('withdraw'))
  const request = await sealFor(relay, KeyWallet.random(), { type: 'withdraw' })
  t.match((await post(relay.url, request.text)).reply, { code: 'ERR_FORBIDDEN', error: /has no wallet/ })
})
