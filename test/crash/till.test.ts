/** Payments and withdrawals whose relay ends at any step: nothing is credited twice, paid twice, or lost. */
import t from 'tap'
import { equal } from '../../market/bytes.ts'
import { sha256Hex } from '../../market/hash.ts'
import type { Use } from '../../relay/till/till.ts'
import { mortal } from '../fixtures/steps.ts'
import { bringIn, bytesOf, crash, mineInstead, openTillScene, payWith, twinOf } from '../fixtures/till.ts'
import { memberOf, paymentScript } from '../fixtures/wallet.ts'

const use: Use = { price: 1000, what: 'PUT /one' }
/** More than there are; a run that comes to its end is the last. */
const mostSteps = 40

t.test('a payment whose relay ends at each step', async (t) => {
  const scene = await openTillScene(t)
  const alice = await scene.payer(
    'alice',
    Array.from({ length: mostSteps }, () => 5000),
  )
  const owner = alice.identity
  let last = 1
  for (; last < mostSteps; last++) {
    const [from, to] = [`relay ${last}`, `relay ${last} again`]
    const { state, step, from: seen } = mortal(last, () => crash(scene, from, to))
    const before = await scene.counter({ folder: from, chain: seen(scene.devnet.chain), step })
    const payment = await payWith(alice, { satoshis: 1500, till: before.till })
    const { txid } = payment
    await before.till.take(owner, payment, use).catch(() => undefined)
    if (!state.isDead) break

    const after = await scene.counter({ folder: to })
    if (last % 2 === 0) await after.pass()
    t.match(await after.till.take(owner, payment, use), { txid, satoshis: 1500, pending: 0 })
    await after.pass()
    t.match(await after.till.take(owner, payment, use), { satoshis: 1500, isRepeat: true })
    t.same(await after.entries(owner), [`received payment ${txid} 1500`], `step ${last}`)
    t.same(await after.wallet.balance(), { confirmed: 0, unconfirmed: 1500, reserved: 0 })
    t.same(await after.differences(), [])
  }
  t.ok(last > 5 && last < mostSteps, `there are ${last - 1} steps`)
})

t.test('a payment that nobody asks for again is credited by itself, or was never remembered', async (t) => {
  const scene = await openTillScene(t)
  const alice = await scene.payer(
    'alice',
    Array.from({ length: 12 }, () => 5000),
  )
  const owner = alice.identity
  let credited = 0
  for (let last = 1; last < 8; last++) {
    const [from, to] = [`relay ${last}`, `relay ${last} again`]
    const { state, step, from: seen } = mortal(last, () => crash(scene, from, to))
    const before = await scene.counter({ folder: from, chain: seen(scene.devnet.chain), step })
    const payment = await payWith(alice, { satoshis: 1500, till: before.till })
    await before.till.take(owner, payment, use).catch(() => undefined)
    if (!state.isDead) break
    const after = await scene.counter({ folder: to })
    await after.pass()
    const mempool = (await scene.devnet.call('getrawmempool')) as string[]
    const isSent = mempool.includes(payment.txid)
    t.same(
      await after.entries(owner),
      isSent ? [`received payment ${payment.txid} 1500`] : [],
      `step ${last}`,
    )
    if (isSent) credited++
    t.same(await after.differences(), [])
  }
  t.ok(credited > 3)
})

t.test('a payment that is double-spent while its relay is down', async (t) => {
  const scene = await openTillScene(t)
  const alice = await scene.payer('alice', [20_000])
  const twin = await twinOf(scene, 'alice')
  const owner = alice.identity
  const before = await scene.counter()
  const payment = await payWith(alice, { satoshis: 6000, till: before.till })
  const other = await payWith(twin, { satoshis: 100, prefix: 'elsewhere' })
  await before.till.take(owner, payment, use)
  crash(scene, 'relay', 'again')
  await mineInstead(scene.devnet, bytesOf(twin, other.txid))

  const after = await scene.counter({ folder: 'again' })
  t.equal(after.till.creditOf(owner).available, 6000)
  await after.pass()
  t.equal(after.till.creditOf(owner).available, 0)
  t.same(await after.differences(), [])
})

t.test('a withdrawal whose relay ends at each step', async (t) => {
  const scene = await openTillScene(t)
  const alice = await scene.payer(
    'alice',
    Array.from({ length: mostSteps }, () => 5000),
  )
  const owner = alice.identity
  /** Transactions of the mempool that pay to a script. */
  const paidTo = async (script: Uint8Array) => {
    const txids = (await scene.devnet.call('getrawmempool')) as string[]
    const all = await Promise.all(txids.map((txid) => memberOf(scene.devnet.chain, txid)))
    const isPaying = (output: { script: Uint8Array }) => equal(output.script, script)
    return all.flatMap((found) => (found?.transaction.outputs.some(isPaying) ? [found.txid] : []))
  }
  let last = 1
  let total = 0
  for (; last < mostSteps; last++) {
    const [from, to] = [`relay ${last}`, `relay ${last} again`]
    const { state, step, from: seen } = mortal(last, () => crash(scene, from, to))
    let isBegun = false
    const count = () => {
      if (isBegun) step()
    }
    const before = await scene.counter({ folder: from, chain: seen(scene.devnet.chain), step: count })
    const payment = await payWith(alice, { satoshis: 4000, till: before.till })
    await before.till.take(owner, payment, use)
    await scene.devnet.node.mine(1)
    await before.pass()
    isBegun = true
    const order = { owner, id: sha256Hex(`withdrawal ${last}`), satoshis: 1000n }
    const answer = await before.till.withdraw(order).catch(() => undefined)
    if (!state.isDead) {
      t.ok(answer)
      break
    }

    const after = await scene.counter({ folder: to })
    if (last % 2 === 0) await after.pass()
    const paid = await after.till.withdraw(order)
    t.same(await after.till.withdraw(order), paid, 'the same again')
    await after.pass()
    t.equal(after.till.creditOf(owner).available, 3000, `step ${last}`)
    t.equal((await after.entries(owner)).filter((entry) => entry.startsWith('returned')).length, 1)
    const paying = await paidTo(await paymentScript(scene.relay, paid, owner))
    t.same(paying, [paid.txid], 'one transaction')
    await bringIn(alice, scene.relay.identity, paid)
    total += Number(paid.satoshis) - Number(paid.fee)
    t.same(await after.differences(), [])
  }
  t.ok(last > 5 && last < mostSteps, `there are ${last - 1} steps`)
  t.ok(total > 0)
})
