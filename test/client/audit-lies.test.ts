/** What a client makes of what its relay says beside its reports: reads that were bought, times, sizes, acks of strangers. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createContext } from '../../client/context.ts'
import { pagesFile } from '../../client/home/audits.ts'
import { Home } from '../../client/home/home.ts'
import { fromKeyWallet } from '../../client/index.ts'
import { fetchPages } from '../../client/money/audit-spool.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { audited, deceivedCouple, type Lie } from '../fixtures/audited.ts'

t.setTimeout(200_000)

const dayMs = 86_400_000

/** Alice with one message that Bob has, and a relay whose answers may be changed. */
async function scene(t: Test) {
  t.testdir()
  const { relay, way, lie, alice, bob, to } = await deceivedCouple(t)
  await alice.client.send(to, 'hello')
  await bob.client.pull()
  await bob.client.finish()
  return { relay, way, lie, alice, audited: () => audited(alice, { prove: 0 }) }
}

/** Three reads of 0.7 satoshi each, the third of which came to a whole one more: as a relay lists them. */
function buys(lie: Lie, spent: number) {
  const moment = { at: 0 }
  lie.report = (report) => {
    report.egress = String(BigInt(report.egress) + 3n * 600n)
    report.owed = String(BigInt(report.owed) + BigInt(spent))
  }
  lie.other = (type, body) => {
    if (type !== 'account' || body.result === undefined) return
    const { at, entries } = body.result
    moment.at ||= at
    const columns = { received: '0', reserved: '0', earned: '0', released: '0', returned: '0' }
    const entry = { at: moment.at, purse: 'grant', what: 'bought', recordId: 'x', note: 'y', ...columns }
    entries.unshift(entry, entry, entry)
    entries.sort((a: { at: number }, b: { at: number }) => b.at - a.at)
  }
}

t.test(
  'reads that were bought for less than a satoshi each explain what they came to, ever after',
  async (t) => {
    const { lie, alice, audited } = await scene(t)
    const before = await audited()
    buys(lie, 2)

    const first = await audited()
    await alice.client.send(alice.client.identity, 'more').catch(() => undefined)
    const second = await audited()
    buys(lie, 9)
    const third = await audited()

    for (const one of [before, first, second]) t.match(one, { verdict: 'explained', findings: [] })
    t.equal(third.findings[0]?.kind, 'wrong-price', 'but no more than they can have come to')
  },
)

t.test('a report of the future, and one older than that before it, is not looked at', async (t) => {
  const { lie, audited } = await scene(t)
  const honest = await audited()
  for (const ms of [29 * dayMs, -dayMs, Number.MAX_SAFE_INTEGER - Date.now() - dayMs]) {
    lie.report = (report) => {
      report.at += ms
    }
    await t.rejects(audited(), { code: 'ERR_UNTRUSTED', message: /reports of / }, `${ms} ms`)
  }
  lie.report = (report) => {
    report.at += 60_000
  }
  const ahead = await audited()
  t.same([honest.findings, ahead.findings.map(({ kind }) => kind)], [[], []])
})

t.test('a report larger than the bound is given up, and leaves nothing on the disk', async (t) => {
  const { relay, alice } = await scene(t)
  const home = await Home.open(alice.home)
  const keys = await openKeyFile(home.keyFile)
  const wallet = fromKeyWallet(keys)
  const ctx = createContext({
    ...{ home, holder: { kind: 'home', keys }, wallet, quorum: 1, now: Date.now, notify: () => {} },
  })

  const few = fetchPages(ctx, ctx.connect(relay), { purse: 'grant', most: 500 })

  await t.rejects(few, { code: 'ERR_UNTRUSTED', message: /larger than 500 bytes/ })
  t.notOk(existsSync(pagesFile(home, relay.key, 'grant')))
  const all = await fetchPages(ctx, ctx.connect(relay), { purse: 'grant' })
  t.ok(all.pulls > 0)
  t.ok(existsSync(join(alice.home, 'audits')))
  await all.remove()
})
