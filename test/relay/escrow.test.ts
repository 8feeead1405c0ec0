/** Contracts at the relay: opened, used, paid, closed, by both and by one; what chain and clock make of them. */
import t from 'tap'
import { z } from 'zod'
import { shareOf } from '../../contracts/escrow/contract.ts'
import { walletSigner } from '../../contracts/escrow/keys.ts'
import { readHalfSigned, signStakes } from '../../contracts/escrow/signatures.ts'
import type { Terms } from '../../contracts/escrow/terms.ts'
import { unsigned } from '../../contracts/escrow/transactions.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { fromHex } from '../../market/bytes.ts'
import { canonicalize } from '../../market/canonical.ts'
import { decode, messageSchema, seal, verify } from '../../market/envelope.ts'
import { RECORD_PROTOCOL } from '../../market/identity.ts'
import { decodePayload } from '../../market/payload.ts'
import { decodeRecord, parsePath } from '../../market/record.ts'
import { bookReceived } from '../../relay/store/ledger.ts'
import { escrowsOf, putDraining } from '../../relay/store/contracts.ts'
import { Sweeper } from '../../relay/store/sweeper.ts'
import { type Desk, type EscrowClient, furnished, openedDeal, prices } from '../fixtures/escrow.ts'
import { startMs } from '../fixtures/chain.ts'
import { mineInstead, twinOf } from '../fixtures/till.ts'

t.setTimeout(120_000)

t.test('a contract is opened, pays for records, is paid and closed, to the satoshi', async (t) => {
  const { scene, desk } = await furnished(t)
  const alice = await scene.client('alice')
  const owner = alice.key
  t.match(desk.contracts.offer, { v: 1, network: 'devnet', isOpen: true, depositServer: 5000 })

  const deal = await alice.deal()
  const inputs = await desk.contracts.open(deal.open, alice.caller)
  t.same(await desk.contracts.open(deal.open, alice.caller), inputs, 'the same again is answered the same')
  const { draft: _, ...signed } = await alice.signed(deal, inputs)
  const funded = await desk.contracts.sign(signed, alice.caller)
  t.same(await desk.contracts.sign(signed, alice.caller), funded)
  deal.joint = { txid: funded.txid, vout: 0 }
  const { id } = deal
  t.match(desk.purse(owner, id), { received: 300_000, returned: 0 })

  t.ok(await desk.write(alice.wallet, 20), 'within the credit without a block')
  await t.rejects(desk.write(alice.wallet, 90_000), {
    code: 'ERR_PAYMENT_REQUIRED',
    extras: { quote: { credit: 140, paidNeeded: undefined } },
  })
  await scene.devnet.node.mine(6)
  await desk.pass()
  t.match(desk.kept(id)?.state, { state: 'active', depth: 6 })
  await desk.write(alice.wallet, 90_000)
  const refusal = await desk.write(alice.wallet, 90_000).catch((error) => error)
  t.equal(refusal.code, 'ERR_PAYMENT_REQUIRED')
  const { paidNeeded } = refusal.extras.quote
  t.ok(paidNeeded > 0 && paidNeeded < 200, `it says what helps: ${paidNeeded}`)
  const payment = await alice.payment(deal, paidNeeded, 0)
  t.match(await desk.contracts.pay(payment, owner), { type: 'ContractPaid', paid: paidNeeded, settled: 0 })
  t.ok(await desk.write(alice.wallet, 90_000), 'the same write again')
  t.same((await desk.payments.read()).get(id)?.payments, [payment])
  await t.rejects(desk.contracts.pay(await alice.payment(deal, paidNeeded - 1, 0), owner), {
    code: 'ERR_CONFLICT',
    extras: { refusal: 'paid' },
  })

  const { owed, reserved } = await desk.contracts.state(id, owner)
  t.ok(owed > 0 && reserved > 0)
  await t.rejects(desk.contracts.end(await alice.refund(deal, owed - 1), owner), {
    code: 'ERR_PAYMENT_REQUIRED',
    extras: { refusal: 'owed', owed },
  })
  t.equal(desk.kept(id)?.state.state, 'disputed')
  const before = (await desk.wallet.balance()).confirmed
  const refund = await alice.refund(deal, owed + reserved)
  const closed = await desk.contracts.end(refund, owner)
  t.same(await desk.contracts.end(refund, owner), closed, 'the same again is answered the same')
  await t.rejects(desk.write(alice.wallet, 20), { code: 'ERR_PAYMENT_REQUIRED' })
  await desk.pass()
  await scene.devnet.node.mine(6)
  await desk.pass()
  t.match(desk.kept(id), {
    state: { state: 'closed', spend: { txid: closed.txid } },
    facts: { isBooked: true },
  })
  t.equal((await desk.wallet.balance()).confirmed - before, owed + reserved + 5000)
  t.match(desk.purse(owner, id), { received: 300_000, returned: 300_000 - owed - reserved, records: 3 })
  t.equal(escrowsOf(desk.store, owner).current, undefined)
  t.equal(
    shareOf(deal.contract, { kind: 'settled', paid: owed + reserved }, 'client'),
    310_000 - owed - reserved,
  )
  t.same(await desk.differences(), [])
  t.same(desk.warnings, [])
})

/** What the relay said first of contracts, to somebody; newest last. */
async function told(desk: Desk, alice: EscrowClient): Promise<any[]> {
  const { entries } = await desk.store.inventory({ view: { inbox: alice.key }, after: 0, limit: 100 })
  const said: any[] = []
  for (const { path } of entries) {
    const { owner, receiver, recordId } = parsePath(path)
    const fields = { to: owner, timestamp: startMs, nonce: '00'.repeat(8), request: { type: 'read', path } }
    const { text, hash } = await seal(fields, alice.wallet.keys)
    const read = { path: { owner, receiver, recordId }, hash, text, until: Number.MAX_SAFE_INTEGER }
    const found = await desk.store.read(read)
    if (found.outcome !== 'record') continue
    const { content } = decodeRecord(found.text)
    const name = { protocolID: RECORD_PROTOCOL, keyID: recordId, counterparty: owner }
    const { payload } = decodePayload(alice.wallet.keys.decryptBytes(content, name))
    const sealed = decode(`{"msg":${canonicalize((payload as any).msg)}}`, messageSchema(z.any()))
    said.push(verify(sealed).msg.request)
  }
  return said
}

t.test(
  'a client that vanishes: it is asked, then the relay closes alone, before the time is over',
  async (t) => {
    const { scene, desk } = await furnished(t)
    for (const [paid, settled, end] of [
      [2000, 1500, { kind: 'settled', paid: 1500 }],
      [2000, 100, { kind: 'progress', paid: 2000 }],
    ] as const) {
      const alice = await scene.client(`alice ${end.kind}`)
      const deal = await alice.open(desk)
      await scene.devnet.node.mine(6)
      await desk.pass()
      await desk.contracts.pay(await alice.payment(deal, paid, settled), alice.key)
      await desk.write(alice.wallet, 1_400_000)
      const { expiry, closeMargin } = deal.contract.terms

      await scene.passTime(expiry - 4 * closeMargin - Math.floor(scene.clock.now / 1000) + 1)
      await desk.pass()
      t.equal(desk.kept(deal.id)?.state.state, 'closing')
      const [request] = (await told(desk, alice)).filter(({ type }) => type === 'ContractRequestPayment')
      const { owed } = await desk.contracts.state(deal.id, alice.key)
      t.match(request, { contract: deal.id, paid: owed })
      const [mine, state] = [deal.contract, { kind: 'settled', paid: owed } as const]
      t.ok(readHalfSigned(mine, deal.joint!, state, { side: 'server', bytes: fromHex(request.tx) }))
      await desk.pass()
      t.equal(
        (await told(desk, alice)).filter(({ type }) => type === 'ContractRequestPayment').length,
        1,
        'nothing twice',
      )

      await scene.passTime(3 * closeMargin - 1800)
      await desk.pass()
      t.equal((await scene.devnet.chain.mempool()).length, 1, 'published')
      await desk.pass()
      await scene.devnet.node.mine(6)
      await desk.pass()
      t.match(desk.kept(deal.id), { state: { state: 'closed', spend: { end } }, facts: { isBooked: true } })
      t.same(await desk.differences(), [], end.kind)
    }
    t.equal(desk.warnings.length, 2, 'the operator is told of each')
  },
)

t.test('a contract that nobody used is over by time: each has back what it put in', async (t) => {
  const { scene, desk, alice, deal } = await openedDeal(t)
  const before = (await desk.wallet.balance()).confirmed
  await scene.passTime(31 * 86_400)
  await desk.pass()
  t.equal((await scene.devnet.chain.mempool()).length, 1)
  await scene.devnet.node.mine(6)
  await desk.pass()
  const state = { state: 'closed', spend: { end: { kind: 'expiry' } } }
  t.match(desk.kept(deal.id), { state, facts: { isBooked: true } })
  t.equal((await desk.wallet.balance()).confirmed - before, 5000)
  t.match(desk.purse(alice.key, deal.id), { received: 300_000, returned: 300_000 })
  t.same(await desk.differences(), [])
})

t.test('blocks are undone: what was closed is open again, and closed again', async (t) => {
  const { scene, desk, alice, deal } = await openedDeal(t)
  await desk.contracts.end(await alice.refund(deal, 500), alice.key)
  await scene.devnet.node.mine(2)
  await desk.pass()
  t.match(desk.kept(deal.id)?.state, { state: 'closed', spend: { depth: 2 } })
  await scene.devnet.node.reorganize(3)
  await desk.pass()
  t.match(desk.kept(deal.id)?.state, { state: 'closed', spend: { depth: 0 }, was: { depth: 8 } })
  await scene.devnet.node.mine(6)
  await desk.pass()
  t.match(desk.kept(deal.id), { facts: { isBooked: true }, state: { spend: { end: { paid: 500 } } } })
  t.same(await desk.differences(), [])
})

t.test('a funding under another id, and one that is double-spent', async (t) => {
  const { scene, desk } = await furnished(t)
  const alice = await scene.client('alice')
  const twin = await twinOf(scene, 'alice')
  const deal = await alice.open(desk)
  t.equal((await desk.contracts.state(deal.id, alice.key)).txid, deal.joint!.txid)
  await desk.contracts.pay(await alice.payment(deal, 50), alice.key)

  const coin = [...deal.own.stakes][0]!
  const bare = unsigned([coin], [{ satoshis: coin.satoshis - 100, script: p2pkh(fromHex(twin.identity)) }])
  const draft = { transaction: bare, spent: [coin] }
  const side = { side: 'client' as const, signer: walletSigner(alice.wallet) }
  const back = await signStakes(deal.contract, draft, [0, 1], side)
  await mineInstead(scene.devnet, serializeTransaction(back))
  await desk.pass()
  t.equal(desk.kept(deal.id)?.state.state, 'active', 'a block may be undone')
  await t.rejects(desk.write(alice.wallet, 500), { code: 'ERR_PAYMENT_REQUIRED' }, 'no credit rests on it')
  await scene.devnet.node.mine(6)
  await desk.pass()
  t.match(desk.kept(deal.id), { state: { state: 'failed' }, facts: { isBooked: true } })
  t.match(desk.purse(alice.key, deal.id), { received: 300_000, returned: 300_000 })
  t.same(await desk.differences(), [])
})

t.test('many openings: none waits for another, none takes what is reserved', async (t) => {
  const { scene, desk } = await furnished(t, { policy: { poolSize: 4 } })
  const people = await Promise.all(
    ['a', 'b', 'c', 'd', 'e'].map((name) => scene.client(name, [400_000, 400_000, 400_000, 400_000])),
  )
  const deals = await Promise.all(people.map((one) => one.deal()))
  const answers = await Promise.allSettled(
    deals.map((deal, at) => desk.contracts.open(deal.open, people[at]!.caller)),
  )
  t.equal(answers.filter(({ status }) => status === 'fulfilled').length, 4)
  const busy = answers.find((answer) => answer.status === 'rejected')
  t.match(busy, { reason: { code: 'ERR_BUSY', extras: { retryAfterMs: 120_000 } } })
  const [first] = people
  await t.rejects(desk.contracts.open((await first!.deal()).open, first!.caller), { code: 'ERR_LIMIT' })

  scene.clock.now += 121_000
  await desk.pass()
  for (const { id } of deals.slice(0, 4)) t.equal(desk.kept(id)?.state.state ?? 'idle', 'idle')
  await t.rejects(
    desk.contracts.open(deals[0]!.open, first!.caller),
    { code: 'ERR_LIMIT' },
    'its stake rests',
  )
  const again = await first!.open(desk)
  t.equal(desk.kept(again.id)?.state.state, 'active')
  await t.rejects(desk.contracts.open((await first!.deal()).open, first!.caller), { code: 'ERR_CONFLICT' })
  t.same(await desk.differences(), [])
})

t.test('terms outside the offer, and stakes that are not what they should be', async (t) => {
  const { scene, desk } = await furnished(t)
  const alice = await scene.client(
    'alice',
    Array.from({ length: 12 }, () => 400_000),
  )
  const cases: [Partial<Terms>, string][] = [
    [{ depositServer: 4000 }, 'depositServer'],
    [{ feeRate: 50, closeFee: 100 }, 'feeRate'],
    [{ closeMargin: 14_400 }, 'closeMargin'],
    [{ prices: { ...prices, egressGB: 1 } }, 'prices'],
    [{ profile: 0 }, 'profile'],
    [{ budget: 4999, creditLimit: 4999 }, 'budget'],
  ]
  for (const [changes, field] of cases)
    await t.rejects(desk.contracts.open((await alice.deal(changes)).open, alice.caller), {
      code: 'ERR_CONFLICT',
      extras: { refusal: 'policy', field },
    })
  const deal = await alice.deal()
  const bob = await scene.client('bob')
  await t.rejects(desk.contracts.open(deal.open, bob.caller), { code: 'ERR_FORBIDDEN' })
  await t.rejects(desk.contracts.open({ ...deal.open, tx: `${deal.open.tx}00` }, alice.caller), {
    code: 'ERR_TRANSACTION_REFUSED',
  })
  await desk.store.commit((batch) => putDraining(batch, true))
  t.match(desk.contracts.offer, { isOpen: false })
  await t.rejects(desk.contracts.open(deal.open, alice.caller), { code: 'ERR_FORBIDDEN' })
  await desk.store.commit((batch) => putDraining(batch, false))
  t.ok(await desk.contracts.open(deal.open, alice.caller))
})

t.test('while half of the stakes are reserved, an opening costs prepaid credit', async (t) => {
  const { scene, desk } = await furnished(t, { policy: { poolSize: 3, openFee: 500, openingsPerAddress: 3 } })
  const people = await Promise.all(['a', 'b', 'c', 'd'].map((name) => scene.client(name, [400_000])))
  const [one, two, honest, other] = people
  for (const attacker of [one!, two!])
    await desk.contracts.open((await attacker.deal()).open, attacker.caller)
  const deal = await honest!.deal()
  await t.rejects(desk.contracts.open(deal.open, honest!.caller), {
    code: 'ERR_PAYMENT_REQUIRED',
    extras: { openFee: 500 },
  })
  const credit = { owner: honest!.key, purse: 'credit', satoshi: 700, note: 'a payment' }
  await desk.store.commit((batch) => bookReceived(batch, credit))
  t.ok(await desk.contracts.open(deal.open, honest!.caller), 'an honest user is not kept out')
  t.match(desk.purse(honest!.key, 'credit'), { received: 700, returned: 500 })
  await t.rejects(
    desk.contracts.open((await other!.deal()).open, other!.caller),
    { code: 'ERR_LIMIT' },
    'one address',
  )
  t.same(await desk.differences(), [])
})

t.test(
  'a close that pays for no more than was used: the newest records are paid for no longer',
  async (t) => {
    const { scene, desk, alice, deal } = await openedDeal(t)
    await desk.contracts.pay(await alice.payment(deal, 3000, 0), alice.key)
    for (const bytes of [100_000, 100_000, 100_000]) await desk.write(alice.wallet, bytes, { days: 20 })
    scene.clock.now += 3_600_000
    const { owed, reserved } = await desk.contracts.state(deal.id, alice.key)
    const paid = owed + Math.ceil(reserved / 3) + 1
    await desk.contracts.end(await alice.refund(deal, paid), alice.key)
    await desk.pass()
    await scene.devnet.node.mine(6)
    await desk.pass()
    t.match(desk.kept(deal.id), { facts: { isBooked: true } })
    t.match(desk.purse(alice.key, deal.id), { records: 1, returned: 300_000 - paid })
    t.same(await desk.differences(), [])
    scene.clock.now += 21 * 86_400_000
    const sweeper = new Sweeper({
      store: desk.store,
      now: () => scene.clock.now,
      monotonic: () => scene.clock.now,
    })
    await sweeper.run()
    sweeper.confirm()
    await sweeper.run()
    t.match(desk.purse(alice.key, deal.id), { records: 0 })
    t.equal(desk.store.counters(alice.key).records, 0)
    t.same(await desk.differences(), [])
  },
)
