import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makePath } from '../../contracts/transaction/merkle-path.ts'
import { parseOutpoint, type Transaction, txidOf } from '../../contracts/transaction/transaction.ts'
import type { Row } from '../../contracts/wallet/coins/batch.ts'
import { openCoinDatabase } from '../../contracts/wallet/coins/database.ts'
import {
  accept,
  addCoins,
  fail,
  prove,
  sign,
  spendElsewhere,
  unprove,
  unspend,
  reserve,
} from '../../contracts/wallet/coins/moves.ts'
import type { Action } from '../../contracts/wallet/coins/rows.ts'
import { CoinStore, newReference } from '../../contracts/wallet/coins/store.ts'
import { changeAmounts, changeFloor, surplus } from '../../contracts/wallet/actions/draft-size.ts'
import { countedKey, ownScript } from '../../contracts/wallet/own-keys.ts'
import { selectCoins, selectionLimits } from '../../contracts/wallet/actions/select.ts'
import { formatCoinAddress, parseCoinAddress } from '../../contracts/transaction/address.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { keysOf } from '../fixtures/wallet.ts'

const keys = keysOf('alice')
const key = countedKey('receive', 0)
const script = ownScript(keys, key)
const elsewhere = 'ee'.repeat(32)

async function openStore(t: Test, name = 'store'): Promise<CoinStore> {
  const store = await CoinStore.open(join(t.testdirName, name), {
    identity: keys.identity,
    network: 'devnet',
    now: () => 1,
  })
  t.teardown(() => store.close())
  return store
}

/** A transaction that pays these amounts to the wallet, as an action of it. */
async function receive(
  store: CoinStore,
  amounts: readonly number[],
  { isMined = true, from = '11'.repeat(32) } = {},
) {
  const transaction: Transaction = {
    version: 1,
    inputs: [{ txid: from, vout: 0, script: new Uint8Array(0), sequence: 0xffffffff }],
    outputs: amounts.map((satoshis) => ({ satoshis, script })),
    lockTime: 0,
  }
  const txid = txidOf(transaction)
  const outputs = amounts.map((_, vout) => ({ vout, description: 'coin', basket: 'default', tags: [], key }))
  await store.change((batch) => {
    const action = actionOf(batch.next('action'), { txid, outputs, state: 'unproven' })
    batch.putMember({ txid, transaction })
    batch.putAction(action)
    addCoins(batch, action, { transaction, state: 'unproven' })
    if (isMined) prove(batch, txid, makePath(7, [txid], 0))
  })
  return { txid, transaction }
}

const actionOf = (number: number, more: Partial<Action>): Action => ({
  ...{ number, reference: newReference(number), state: 'unsigned', description: 'an action', labels: ['x'] },
  ...{ created: 1, isOutgoing: true, satoshis: 0, inputs: [], outputs: [] },
  ...more,
})

/** Spends a coin to one new coin, signed as far as the store knows. */
async function spendCoin(store: CoinStore, outpoint: string): Promise<string> {
  const coin = store.coin(outpoint)!
  const { satoshis } = coin
  const transaction: Transaction = {
    version: 1,
    inputs: [{ ...parseOutpoint(outpoint), script: Uint8Array.of(1, 1), sequence: 0xffffffff }],
    outputs: [{ satoshis: satoshis - 20, script }],
    lockTime: 0,
  }
  const txid = txidOf(transaction)
  await store.change((batch) => {
    const number = batch.next('action')
    const inputs = [{ outpoint, satoshis, script: coin.script, description: 'coin', key }]
    const action = actionOf(number, {
      inputs,
      outputs: [{ vout: 0, description: 'change', basket: 'default', tags: [], key }],
    })
    batch.putAction(action)
    reserve(batch, action, 1000)
    sign(batch, action, { txid, transaction, state: 'sending' })
  })
  return txid
}

const free = async (store: CoinStore) =>
  [...(await store.freeCoins(true, { limit: 100 })), ...(await store.freeCoins(false, { limit: 100 }))].map(
    ({ outpoint }) => outpoint,
  )

t.test('moves of an action move its coins, and repeating one changes nothing', async (t) => {
  t.testdir()
  const store = await openStore(t)
  const { txid: parent } = await receive(store, [1000])
  const first = await spendCoin(store, `${parent}.0`)
  t.same(await free(store), [], 'what is not accepted is not spent')
  const twice = async (move: (batch: Parameters<typeof accept>[0]) => void) => {
    await store.change(move)
    const before = await rowsOf(store)
    await store.change(move)
    t.same(await rowsOf(store), before)
  }
  await twice((batch) => accept(batch, first))
  t.same(await free(store), [`${first}.0`])
  const second = await spendCoin(store, `${first}.0`)
  await twice((batch) => accept(batch, second))

  await twice((batch) => fail(batch, store.actionOf(first)!.number, 'a double spend'))
  t.same(
    [store.actionOf(first)?.state, store.actionOf(second)?.state],
    ['failed', 'failed'],
    'children fail, too',
  )
  t.same(await free(store), [`${parent}.0`], 'the coin is back')

  const third = await spendCoin(store, `${parent}.0`)
  t.equal(third, first, 'the very same')
  const path = makePath(9, [first], 0)
  await twice((batch) => prove(batch, first, path))
  t.same(await free(store), [`${first}.0`])
  t.same((await store.freeCoins(true, { limit: 9 })).length, 1)
  await twice((batch) => fail(batch, store.actionOf(first)!.number, 'too late'))
  t.equal(store.actionOf(first)?.state, 'mined', 'what is in a block cannot fail')

  const proven = []
  for await (const { txid, height } of store.provenFrom(8)) proven.push([txid, height])
  t.same(proven, [[first, 9]])
  await twice((batch) => unprove(batch, first))
  t.equal(store.member(first)?.path, undefined)
  t.equal((await store.freeCoins(true, { limit: 9 })).length, 0)
})

t.test(
  'a coin that others spent is gone, with what was to be made of it, until a reorganisation gives it back',
  async (t) => {
    t.testdir()
    const store = await openStore(t)
    const { txid } = await receive(store, [1000, 2000])
    const mine = await spendCoin(store, `${txid}.0`)
    await store.change((batch) => spendElsewhere(batch, `${txid}.0`, elsewhere))
    await store.change((batch) => spendElsewhere(batch, `${txid}.1`, elsewhere))
    t.equal(store.actionOf(mine)?.state, 'failed')
    t.same(await free(store), [])
    await store.change((batch) => unspend(batch, `${txid}.1`))
    t.same(await free(store), [`${txid}.1`])

    // It was ours that won after all.
    await store.change((batch) => accept(batch, mine))
    t.match(store.coin(`${txid}.0`)?.spent, { by: mine })
    t.same((await free(store)).sort(), [`${txid}.1`, `${mine}.0`].sort())
  },
)

t.test('all that is kept can be taken out and put into another store; counters never fall', async (t) => {
  t.testdir()
  const store = await openStore(t)
  const { txid } = await receive(store, [1000, 2000])
  await spendCoin(store, `${txid}.0`)
  await store.change((batch) => batch.putPlace({ height: 3, hash: elsewhere }))
  await store.change((batch) => [batch.next('receive'), batch.next('receive'), batch.next('stake')])
  let changes = 0
  const end = store.onChange(() => changes++)
  await store.change((batch) => batch.next('change'))
  await store.change(() => undefined)
  end()
  t.equal(changes, 1, 'told of what was written')

  const other = await openStore(t, 'other')
  await other.change((batch) => batch.raise('receive', 5))
  const rows = await rowsOf(store)
  await other.change((batch) => {
    for (const row of rows) batch.putRow(row)
  })

  t.equal(other.counter('receive'), 5)
  t.same(other.place(), { height: 3, hash: elsewhere })
  t.same(await free(other), await free(store))
  const label = []
  for await (const number of other.labelled('x')) label.push(number)
  t.same(label, [0, 1])
  t.equal((await other.coinsWith(toHex(script), 10)).length, 3)
  t.equal(other.actionByReference(store.action(1)!.reference)?.number, 1)
  t.equal(other.actionByReference('AAAAAAAAAAAAAAAA'), undefined)
})

t.test('a change that throws writes nothing, and a damaged row is not believed', async (t) => {
  t.testdir()
  const store = await openStore(t)
  await t.rejects(
    store.change((batch) => {
      batch.next('receive')
      throw new Error('no')
    }),
    /no/,
  )
  t.equal(store.counter('receive'), 0)
  await store.close()
  const database = await openCoinDatabase(join(t.testdirName, 'store'))
  await database.write([{ key: 'n!receive', value: '"one"' }])
  await database.close()
  const again = await openStore(t)
  t.throws(() => again.counter('receive'), { code: 'ERR_INTERNAL', extras: { reason: 'damaged' } })
})

const shapeOf = (satoshis: number, feeRate = 100) => ({
  feeRate,
  unlocks: [],
  locks: [25],
  satoshis: -satoshis,
})

t.test('selection: confirmed first, then few, exact before change, small ones taken along', async (t) => {
  t.testdir()
  const store = await openStore(t)
  await receive(store, [1000, 5000, 20_000, 100_000])
  await receive(store, [6000], { isMined: false })
  const amounts = async (satoshis: number) => {
    const { coins, surplus } = await selectCoins(store, shapeOf(satoshis))
    return [coins.map((coin) => coin.satoshis), surplus]
  }
  t.same(await amounts(4980), [[5000], 0], 'exactly')
  t.same((await amounts(4000))[0], [5000], 'the smallest that is enough')
  t.same((await amounts(5900))[0], [20_000], 'confirmed rather than fitting')
  t.same((await amounts(110_000))[0], [100_000, 20_000], 'the largest')
  t.same((await amounts(130_000))[0], [100_000, 20_000, 5000, 1000, 6000], 'unconfirmed ones last')
  t.ok(Number((await amounts(140_000))[1]) < 0, 'not enough')

  await receive(
    store,
    Array.from({ length: 40 }, (_, at) => 10 + at),
    { from: '22'.repeat(32) },
  )
  const { coins } = await selectCoins(store, shapeOf(50_000))
  t.same(coins.map(({ satoshis }) => satoshis).slice(0, 1), [100_000])
  t.equal(coins.length, 1 + selectionLimits.consolidated, 'some dust goes along, as far as it pays its way')
  t.ok(coins.every(({ satoshis }) => satoshis > 14))
})

t.test('selection among two thousand coins looks at a bounded number of them', async (t) => {
  t.testdir()
  const store = await openStore(t)
  for (let at = 0; at < 10; at++)
    await receive(
      store,
      Array.from({ length: 200 }, (_, vout) => 1000 + (at * 200 + vout) * 10),
      { from: `${at}0`.repeat(32) },
    )
  let read = 0
  const counted = {
    freeCoins: async (...args: Parameters<CoinStore['freeCoins']>) => {
      const coins = await store.freeCoins(...args)
      read += coins.length
      return coins
    },
    known: store.known.bind(store),
    member: store.member.bind(store),
  }
  const { coins, surplus: left } = await selectCoins(counted, shapeOf(1_000_000))
  t.ok(left >= 0)
  t.ok(coins.length < 60, `${coins.length} coins`)
  t.ok(read <= 2 * selectionLimits.largest + 100, `${read} coins read`)
})

t.test('a chain of unconfirmed transactions is spent to a bounded depth', async (t) => {
  t.testdir()
  const store = await openStore(t)
  let { txid } = await receive(store, [100_000], { isMined: false })
  for (let depth = 1; depth <= selectionLimits.unconfirmedDepth; depth++) {
    const { coins } = await selectCoins(store, shapeOf(500))
    t.equal(coins.length, depth < selectionLimits.unconfirmedDepth ? 1 : 0)
    txid = await spendCoin(store, `${txid}.0`)
    await store.change((batch) => accept(batch, txid))
  }
})

t.test('change: none below what it is worth, one when there are coins enough, at most four', async (t) => {
  const shape = shapeOf(1000)
  const floor = changeFloor(shape)
  for (let left = 0; left < 60; left++) {
    const coin = 1000 + left + 20
    const amounts = changeAmounts(shape, [coin], 100)
    const fee = coin - 1000 - amounts.reduce((sum, amount) => sum + amount, 0)
    t.ok(amounts.every((amount) => amount > 0))
    t.ok(fee >= 20 && fee <= 20 + floor, `${fee} at ${left}`)
  }
  t.equal(changeAmounts(shape, [1_000_000], 100).length, 1)
  t.equal(changeAmounts(shape, [1_000_000], 0).length, 4)
  t.equal(changeAmounts(shape, [45_000], 0).length, 2)
  const parts = changeAmounts(shape, [1_000_000], 0)
  t.equal(
    parts.reduce((sum, amount) => sum + amount, 0),
    surplus(shape, [1_000_000], 4),
    'to the satoshi',
  )
})

t.test('addresses say their network, and one that was mistyped is no address', async (t) => {
  const hash = fromHex('010966776006953d5567439e5e39f86a0d273bee')
  t.equal(formatCoinAddress(hash, 'main'), '16UwLL9Risc3QfPqBUvKofHmBQ7wMtjvM')
  t.same(parseCoinAddress('16UwLL9Risc3QfPqBUvKofHmBQ7wMtjvM', 'main').subarray(3, 23), hash)
  const test = formatCoinAddress(hash, 'devnet')
  t.match(test, /^[mn]/)
  t.throws(() => parseCoinAddress(test, 'main'), { code: 'ERR_CONFLICT' })
  for (const wrong of ['16UwLL9Risc3QfPqBUvKofHmBQ7wMtjvN', '', '1', '0OIl', `1${test}`])
    t.throws(() => parseCoinAddress(wrong, 'main'), { code: 'ERR_MALFORMED' }, wrong)
})

async function rowsOf(store: CoinStore): Promise<Row[]> {
  const rows: Row[] = []
  for await (const row of store.rows()) rows.push(row)
  return rows
}
