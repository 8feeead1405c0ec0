/** The money of a migration: copies within what is allowed, the contract with the old relay closed, its credit paid back. */
import t from 'tap'
import { Redundancy } from '../../client/redundancy.ts'
import { depositAt } from '../../client/credit.ts'
import { post } from '../../client/mail/post.ts'
import { pull } from '../../client/mail/pull.ts'
import { accounts } from '../../client/money/account.ts'
import { auditRelays } from '../../client/money/audit.ts'
import { addFriend } from '../../client/people/friends.ts'
import { formatAddress } from '../../market/address.ts'
import { openMarket } from '../fixtures/contracting.ts'

t.setTimeout(120_000)

t.test('when all has moved, the contract is closed and credit comes back', async (t) => {
  const market = await openMarket(t)
  const [old, next] = [await market.relay('old'), await market.relay('next')]
  const alice = await market.user('alice', { relays: [old.address] })
  const bob = await market.user('bob', { satoshis: 0, relays: [next.address] })
  const { ctx, call } = alice
  for (const [one, other] of [
    [alice, bob],
    [bob, alice],
  ] as const)
    await addFriend(one.ctx, (await other.ctx.home.me()).text)
  const redundancy = new Redundancy(ctx)
  await depositAt(ctx, old.url, { ...call, satoshis: 5000 })
  await alice.contracts.open(old.url, { ...call, budget: 50_000 })
  await market.devnet.node.mine(6)
  await alice.contracts.tend(call)
  for (const text of ['one', 'two'])
    await post(ctx, { to: bob.ctx.wallet.identity, payload: { type: 'text', text } })

  const route = [old.url, formatAddress(next.address)] as const
  const dear = redundancy.migrate(...route, { ...call, maxCost: 0, waitSeconds: 3600 })
  await t.rejects(dear, { code: 'ERR_COST' })
  const poor = redundancy.migrate(...route, { ...call, maxCost: 1000 })
  await t.rejects(poor, { code: 'ERR_COST', message: /needs more credit/ })
  await next.operator.grant({ key: ctx.wallet.identity, satoshi: 100_000 })
  const costs: (string | null)[] = []
  const onCost = ({ satoshis }: { satoshis: string | null }) => void costs.push(satoshis)
  const waiting = await redundancy.migrate(...route, { ...call, onCost })
  // He acknowledges nothing yet; the new relay has his signed reads.
  for (const _ of ['the news', 'what is there']) await pull(bob.ctx)
  const done = await redundancy.goOn(call)
  const again = await redundancy.migrate(...route, call)
  const [left] = await accounts(ctx, formatAddress(old.address), { entries: 1 })
  const audits = [old, next].map(({ address }) => auditRelays(ctx, formatAddress(address), { prove: 0 }))
  const purses = (await Promise.all(audits)).flat().map((at) => ('purses' in at ? at.purses : []))

  t.match(waiting, { step: 'meet', friends: [{ isSeen: false }] })
  t.match(done, { step: 'done', friends: [{ isSeen: true }], unmoved: [], lost: [], notWithdrawn: null })
  t.match(done.contracts, [{ state: 'closed', error: null }])
  t.ok(Number(done.withdrawn?.satoshis) > 4000, `${done.withdrawn?.satoshis} satoshi came back`)
  t.ok(Number(costs[0]) > 0 && Number(costs[0]) <= 1000, `${costs[0]} satoshi were quoted`)
  t.same(again, done, 'asked once more, nothing is done')
  t.same(
    new Set(purses.flat().map(({ verdict }) => verdict === 'forged')),
    new Set([false]),
    'nobody is accused',
  )
  t.match(left, { purses: [{ purse: 'credit', available: '0' }, {}] })
})
