/** The command is killed at each step of a contract: whatever comes next goes on, and nothing is paid twice. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openMarket } from '../fixtures/contracting.ts'
import { relayCommand, spawnCommand } from '../fixtures/people.ts'

t.setTimeout(280_000)

const market = await openMarket(t)
market.clock.now = Date.now()
const relay = await market.relay()
const chain = `devnet:${market.devnet.url}`
const home = join(market.directory, 'alice')
const alice = (...args: string[]) => {
  market.clock.now = Date.now()
  return relayCommand(home, args, { env: { RELAY_CHAIN: chain } })
}
const mine = (blocks: number) => market.devnet.node.mine(blocks)
const balance = async (): Promise<number> => (await alice('wallet', 'balance')).rows[0].satoshis
await alice('init', '--label', 'Alice', '--relay', `${relay.url}#${relay.key}`)
await alice('wallet', 'faucet', '400000')
await mine(1)

/** Where each contract of the home is, as its disk says at this moment. */
function places(): string[] {
  const folder = join(home, 'contracts')
  const names = readdirSync(folder).filter((file) => /^[0-9a-f]{64}\.json$/.test(file))
  return names.map((name) => {
    const { state, stake, funding } = JSON.parse(readFileSync(join(folder, name), 'utf8'))
    const paid = 'paid' in state ? ` ${state.paid}` : ''
    return `${state.state}${stake === null ? '' : ' staked'}${funding === null ? '' : ' funded'}${paid}`
  })
}

/** Kills the command as soon as the disk says so, or when it is over. */
async function killedAt(args: string[], isThere: (places: string[]) => boolean): Promise<void> {
  const { child, ended } = spawnCommand(home, [...args, '--chain', chain])
  const state = { isOver: false }
  void ended.then(() => {
    state.isOver = true
  })
  while (!state.isOver && !isThere(places())) await pause(1)
  child.kill('SIGKILL')
  await ended
}

const live = async () =>
  (await alice('contract', 'list')).rows.filter(({ state }) =>
    ['active', 'closing', 'disputed'].includes(state),
  )

// Each process takes its time; the steps between are gone through in test/long/contract-life.test.ts.

/** Opens one by a command that is killed, and by the next one. */
async function openKilled(t: Test, place: string) {
  const before = await balance()
  const open = ['contract', 'open', relay.url, '--budget', '50000', '--yes']
  const known = places().length
  await killedAt(open, (all) => all.length > known && all.some((one) => one.startsWith(place)))
  const again = await alice(...open)
  t.ok(again.code === 0 || /is open: renew it/.test(again.stderr), again.stderr)
  t.match(await live(), [{ state: 'active', budget: 50_000 }])
  await mine(6)
  const spent = before - (await balance())
  t.ok(spent > 60_000 && spent < 60_300, `one stake is paid: ${spent}`)
}

/** Ends the one that is open by a command that is killed, and by what an agent does then. */
async function endKilled(t: Test, place: string) {
  const count = () => places().filter((one) => one.startsWith(place)).length
  const known = count()
  await killedAt(['contract', 'close', relay.url, '--yes'], () => count() > known)
  await alice('agent', '--once')
  await mine(6)
  await alice('agent', '--once')
  t.same(await live(), [])
  const spent = 400_000 - (await balance())
  t.ok(spent < 1500, `${spent} satoshi of fees and service, up to here`)
}

t.test('an opening that is killed once its stake is made, and an end once it is signed', async (t) => {
  await openKilled(t, 'staking staked')
  await endKilled(t, 'closing')
})

t.test(
  'all that follows is killed too: nothing is paid twice, and an agent stops when it is told to',
  async (t) => {
    await openKilled(t, 'signed staked funded')

    const agent = ['agent', '--every', '1s']
    await killedAt(agent, (all) => all.some((place) => /^active .* [1-9]\d*$/.test(place)))
    const { child, ended, seen } = spawnCommand(home, [...agent, '--chain', chain])
    await seen('"depth":6')
    child.kill('SIGINT')
    const { code, stderr } = await ended
    t.equal(code, 0, stderr)
    const [paid] = await live()
    t.match(paid, { state: 'active', depth: 6, verdict: 'explained' })
    t.ok(paid.settled > 0, 'the backup of the coins was paid for')
    const { rows } = await alice('account')
    const theirs = rows.find(({ event, contract }) => event === 'contract' && contract === paid.contract)
    t.match(theirs, { paid: paid.paid, settled: paid.settled })

    const before = await balance()
    const renew = ['contract', 'renew', relay.url, '--yes']
    await killedAt(renew, (all) => all.some((place) => place === 'opening staked'))
    t.match(await alice(...renew), { code: 0 })
    await mine(6)
    await alice('agent', '--once')
    t.match(await live(), [{ state: 'active', renews: paid.contract }])
    const spent = before - (await balance())
    t.ok(spent < 1000, `one stake is paid, for what was used and fees: ${spent}`)
    await endKilled(t, 'closed')
  },
)
