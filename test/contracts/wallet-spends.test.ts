import t, { type Test } from 'tap'
import type { Chain, Refusal } from '../../contracts/chain/chain.ts'
import { formatOutpoint, parseTransaction } from '../../contracts/transaction/transaction.ts'
import { type Database, openCoinDatabase } from '../../contracts/wallet/coins/database.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sentRemittance } from '../../contracts/wallet/actions/payments.ts'
import { payee } from '../fixtures/transactions.ts'
import { keysOf, openScene, withMethods } from '../fixtures/wallet.ts'

const lockingScript = toHex(payee('somebody').script)
const pay = (wallet: EmbeddedWallet, satoshis: number, options = {}) =>
  wallet.createAction({
    description: 'pay somebody',
    outputs: [{ lockingScript, satoshis, outputDescription: 'for somebody' }],
    options: { acceptDelayedBroadcast: false, ...options },
  })
const sumOf = async (wallet: EmbeddedWallet): Promise<number> => {
  const { confirmed, unconfirmed, reserved } = await wallet.balance()
  return confirmed + unconfirmed + reserved
}
const down = new MarketError('ERR_CHAIN_UNAVAILABLE', 'no route')

t.test('twenty spends at once, of one coin and of many: none takes the coin of another', async (t) => {
  for (const coins of [[200_000], Array.from({ length: 20 }, () => 10_000)]) {
    await t.test(`${coins.length} coins`, (t) => spendAtOnce(t, coins))
  }
})

async function spendAtOnce(t: Test, coins: number[]): Promise<void> {
  const scene = await openScene(t)
  const alice = await scene.open('alice')
  await scene.fund(alice, coins)

  // Most find all coins in use by others: they wait for the change of those before them.
  const results = await Promise.all(Array.from({ length: 20 }, (_, at) => pay(alice, 1000 + at)))

  const spent = new Set<string>()
  let fees = 0
  for (const { txid } of results) {
    const { inputs } = parseTransaction(fromHex(alice.store.known(txid!)!.raw))
    for (const input of inputs) {
      t.notOk(spent.has(formatOutpoint(input)))
      spent.add(formatOutpoint(input))
    }
    t.equal((await scene.devnet.chain.status(txid!)).state, 'mempool')
    fees -= alice.store.actionOf(txid!)!.satoshis
  }
  t.equal(await sumOf(alice), 200_000 - fees)
  await scene.devnet.node.mine(1)
  for (const { txid } of results) t.equal((await scene.devnet.chain.status(txid!)).state, 'mined')
}

/** Throws at the given write, before or after it is on disk: as if the process ended there. */
const dyingAt =
  (write: number, isWritten: boolean, count = { writes: 0 }): typeof openCoinDatabase =>
  async (directory, options) => {
    const database: Database = await openCoinDatabase(directory, options)
    return {
      ...database,
      async write(changes) {
        const isLast = count.writes++ === write
        if (!isLast || isWritten) await database.write(changes)
        if (isLast) throw new Error('killed')
      },
    }
  }

t.test(
  'killed at each step of a spend: nothing is lost, nothing is paid twice, what was signed is sent',
  async (t) => {
    for (const isWritten of [false, true]) {
      for (let write = 0; write < 3; write++)
        await t.test(`at write ${write}, ${isWritten}`, async (t) => {
          const scene = await openScene(t)
          const alice = await scene.open('alice')
          await scene.fund(alice, [50_000])
          await alice.close()
          const dying = await scene.open('alice', { database: dyingAt(write, isWritten) })
          await t.rejects(pay(dying, 7000), /cannot write/)
          await dying.close()

          scene.clock.now += 3_600_000
          const again = await scene.open('alice')

          const paid = (await again.listActions({ labels: [] })).actions.filter(
            ({ isOutgoing, status }) => isOutgoing && status !== 'failed',
          )
          const isSigned = write > 1 || (write === 1 && isWritten)
          t.equal(paid.length, isSigned ? 1 : 0, `write ${write}, ${isWritten ? 'after' : 'before'}`)
          t.equal(await sumOf(again), 50_000 + (paid[0]?.satoshis ?? 0))
          if (isSigned) t.equal((await scene.devnet.chain.status(paid[0]!.txid)).state, 'mempool')
          await pay(again, 7000)
          t.equal(
            await again.store
              .actionsIn('sending')
              [Symbol.asyncIterator]()
              .next()
              .then(({ done }) => done),
            true,
          )
        })
    }
  },
)

t.test('killed while a payment is brought in: it is credited once', async (t) => {
  for (const isWritten of [false, true])
    await t.test(String(isWritten), async (t) => {
      const scene = await openScene(t)
      const dying = await scene.open('alice', { database: dyingAt(1, isWritten) })
      await t.rejects(scene.fund(dying, [5000]), /cannot write/)
      await dying.close()
      const again = await scene.open('alice')
      t.equal(await sumOf(again), isWritten ? 5000 : 0)
    })
})

t.test('a fee that is too low: refused, said, and the coins are there to be spent', async (t) => {
  const scene = await openScene(t)
  const { chain } = scene.devnet
  const cheap = await scene.open('alice', { chain: withMethods(chain, { feeRate: async () => 10 }) })
  await scene.fund(cheap, [50_000])

  const error = await pay(cheap, 7000).catch((error) => error)

  t.match(error, {
    name: 'WERR_REVIEW_ACTIONS',
    code: 'ERR_TRANSACTION_REFUSED',
    reviewActionResults: [{ status: 'invalidTx' }],
    sendWithResults: [{ status: 'failed' }],
  })
  t.same(await cheap.balance(), { confirmed: 50_000, unconfirmed: 0, reserved: 0 })
  t.match(cheap.store.actionOf(error.txid), { state: 'failed' })
  await cheap.close()
  const alice = await scene.open('alice')
  t.ok((await pay(alice, 7000)).txid)
})

t.test(
  'no answer of the network: kept, said unless delays are accepted, and sent when it is back',
  async (t) => {
    const scene = await openScene(t)
    const { chain } = scene.devnet
    let isDown = true
    const broadcast: Chain['broadcast'] = async (bytes) =>
      isDown ? Promise.reject(down) : chain.broadcast(bytes)
    const alice = await scene.open('alice', { chain: withMethods(chain, { broadcast }) })
    isDown = false
    await scene.fund(alice, [50_000, 50_000])
    isDown = true

    const error = await pay(alice, 7000).catch((error) => error)
    const delayed = await pay(alice, 8000, { acceptDelayedBroadcast: true })

    t.match(error, { code: 'ERR_CHAIN_UNAVAILABLE', reviewActionResults: [{ status: 'serviceError' }] })
    t.match(error.message, /will be sent again/)
    t.ok(delayed.tx)
    await t.rejects(
      pay(alice, 1000),
      { code: 'ERR_INSUFFICIENT_FUNDS' },
      'change of what may not exist is not spent',
    )
    await t.rejects(alice.abortAction({ reference: delayed.txid! }), { code: 'ERR_CONFLICT' })
    await alice.close()
    const offline = await scene.open('alice', { chain: withMethods(chain, { broadcast }) })
    t.equal((await chain.status(delayed.txid!)).state, 'unknown')
    isDown = false
    await offline.resume()
    for (const txid of [error.txid, delayed.txid]) t.equal((await chain.status(txid)).state, 'mempool')
    t.ok(await pay(offline, 1000))
  },
)

t.test('an answer that was lost: the network has the transaction, and the wallet finds out', async (t) => {
  const scene = await openScene(t)
  const alice = await scene.open('alice')
  await scene.fund(alice, [50_000])
  await scene.devnet.call('devnet.fault', { method: 'sendrawtransaction', kind: 'drop' })

  const { txid } = await pay(alice, 7000)

  t.equal((await scene.devnet.chain.status(txid!)).state, 'mempool')
  t.equal(alice.store.actionOf(txid!)?.state, 'unproven')
})

t.test(
  'another copy of the same wallet spent the coin: this one says so and goes on with what is left',
  async (t) => {
    const scene = await openScene(t)
    const alice = await scene.open('alice')
    await scene.fund(alice, [20_000, 30_000])
    await alice.close()
    await scene.copy('alice', 'copy')
    const [first, second] = [await scene.open('alice'), await scene.open('alice', { folder: 'copy' })]

    await pay(first, 25_000)
    const error = await pay(second, 25_001).catch((error) => error)

    t.match(error, { code: 'ERR_TRANSACTION_REFUSED', reviewActionResults: [{ status: 'doubleSpend' }] })
    t.same(await second.balance(), { confirmed: 20_000, unconfirmed: 0, reserved: 0 })
    t.ok(await pay(second, 15_000))
  },
)

t.test(
  'coins that nobody signs for are free again after a while; a signature that comes too late is refused',
  async (t) => {
    const scene = await openScene(t)
    const alice = await scene.open('alice', { reservedMs: 60_000 })
    await scene.fund(alice, [50_000])
    const { signableTransaction } = await pay(alice, 7000, { signAndProcess: false })
    t.same(await alice.balance(), { confirmed: 0, unconfirmed: 0, reserved: 50_000 })
    await t.rejects(pay(alice, 7000), { code: 'ERR_INSUFFICIENT_FUNDS' })
    await alice.close()

    scene.clock.now += 59_999
    const early = await scene.open('alice')
    t.equal((await early.balance()).reserved, 50_000, 'a reservation outlives its process')
    scene.clock.now += 1
    const { reference } = signableTransaction!
    await t.rejects(early.signAction({ reference, spends: {} }), { code: 'ERR_EXPIRED' })
    t.ok(await pay(early, 7000))
    await t.rejects(early.signAction({ reference, spends: {} }), { code: 'ERR_NOT_FOUND' })
  },
)

t.test('coins belong to one key and one network, and to one process at a time', async (t) => {
  const scene = await openScene(t)
  const alice = await scene.open('alice')
  await t.rejects(scene.open('alice', { waitMs: 50 }), { code: 'ERR_BUSY' })
  const waiting = scene.open('alice')
  await alice.close()
  await (await waiting).close()
  await t.rejects(scene.open('bob', { folder: 'alice' }), { code: 'ERR_CONFLICT' })
  const main = withMethods(scene.devnet.chain, {})
  const onMain = new Proxy(main, {
    get: (target, name) => (name === 'network' ? 'main' : Reflect.get(target, name)),
  })
  await t.rejects(scene.open('alice', { chain: onMain }), { code: 'ERR_CONFLICT' })
})

const refusing = (chain: Chain, kinds: (Refusal | undefined)[]): Chain['broadcast'] => {
  return async (bytes) => {
    const refusal = kinds.shift()
    if (refusal === undefined) return chain.broadcast(bytes)
    throw new MarketError('ERR_TRANSACTION_REFUSED', 'not this one', { extras: { refusal } })
  }
}

t.test('where nobody tells what is spent, a refusal is decided by its kind', async (t) => {
  const scene = await openScene(t)
  const { chain } = scene.devnet
  const kinds: (Refusal | undefined)[] = []
  const blind = withMethods(chain, {
    isUnspent: async () => undefined,
    broadcast: refusing(chain, kinds),
  })
  const alice = await scene.open('alice', { chain: blind })
  await scene.fund(alice, [50_000])

  kinds.push('fee')
  await t.rejects(pay(alice, 7000), {
    code: 'ERR_TRANSACTION_REFUSED',
    sendWithResults: [{ status: 'failed' }],
  })
  t.match(await alice.balance(), { confirmed: 50_000, reserved: 0 })

  for (const kind of ['conflict', 'missing-inputs'] as const) {
    kinds.push(kind)
    const error = await pay(alice, 7000).catch((error) => error)
    t.match(error, { reviewActionResults: [{ status: 'doubleSpend' }] })
    t.equal(await sumOf(alice), 0, 'the only input is what another transaction spent')
    await scene.fund(alice, [50_000])
  }
  t.ok(await pay(alice, 7000))
})

t.test('what was handed out is not free by a refusal alone, and holds up nobody', async (t) => {
  const scene = await openScene(t)
  const { chain } = scene.devnet
  const kinds: (Refusal | undefined)[] = []
  const alice = await scene.open('alice', {
    chain: withMethods(chain, { broadcast: refusing(chain, kinds) }),
  })
  await scene.fund(alice, [50_000, 60_000])
  const held = await pay(alice, 7000, { noSend: true })

  kinds.push('fee')
  const sent = await alice.createAction({
    description: 'sends what was held',
    options: { sendWith: [held.txid!] },
  })
  t.match(sent.sendWithResults, [{ status: 'sending' }])
  t.match(alice.store.actionOf(held.txid!), { state: 'sending', isHandedOut: true })

  kinds.push('non-final')
  const error = await pay(alice, 8000).catch((error) => error)
  t.match(error, { code: 'ERR_CHAIN_UNAVAILABLE', sendWithResults: [{ status: 'sending' }] })
  kinds.push('fee')
  const results = await alice.resume()
  t.match(results.get(held.txid!), { status: 'sending' })
  t.match(results.get(error.txid), { status: 'unproven' }, 'it is sent behind one that is refused')

  const input = parseTransaction(fromHex(alice.store.known(held.txid!)!.raw)).inputs[0]!
  const rival = await scene.open('alice', { folder: 'rival' })
  t.equal(rival.store.coin(formatOutpoint(input)), undefined)
  await alice.resume()
  t.match(alice.store.actionOf(held.txid!), { state: 'unproven' })
})

t.test('the remittance of a payment outlives a refusal to answer, and a crash', async (t) => {
  const scene = await openScene(t)
  const bob = await scene.open('bob')
  let isDown = false
  const { chain } = scene.devnet
  const broadcast: Chain['broadcast'] = async (bytes) =>
    isDown ? Promise.reject(down) : chain.broadcast(bytes)
  const alice = await scene.open('alice', { chain: withMethods(chain, { broadcast }) })
  await scene.fund(alice, [50_000])
  isDown = true

  const error = await alice.payTo({ identity: bob.identity, satoshis: 7000 }).catch((error) => error)
  await alice.close()
  isDown = false
  const again = await scene.open('alice')
  const sent = sentRemittance(again.store, error.txid)

  t.match(error, { code: 'ERR_CHAIN_UNAVAILABLE', name: 'WERR_REVIEW_ACTIONS' })
  t.same(sent?.remittance, error.remittance)
  await bob.internalizeAction({
    tx: error.tx,
    description: 'from alice',
    outputs: [
      { outputIndex: sent!.outputIndex, protocol: 'wallet payment', paymentRemittance: error.remittance },
    ],
  })
  t.equal((await bob.balance()).unconfirmed, 7000)
  await again.close()

  const dying = await scene.open('alice', { database: dyingAt(2, false) })
  await scene.devnet.node.mine(1)
  await t.rejects(dying.payTo({ identity: keysOf('bob').identity, satoshis: 900 }), /cannot write/)
  await dying.close()
  const risen = await scene.open('alice')
  const { actions } = await risen.listActions({ labels: [] })
  const lost = actions.find(({ txid }) => txid !== error.txid && sentRemittance(risen.store, txid))
  t.match(lost, { isOutgoing: true })
})
