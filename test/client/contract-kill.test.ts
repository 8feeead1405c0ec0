/** The command is killed at each step of a contract: whatever comes next goes on, and nothing is paid twice. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openMarket } from '../fixtures/contracting.ts'
import { relayCommand, spawnCommand } from '../fixtures/people.ts'

t.setTimeout(280_000)

async function setUp(t: Test) {
  const market = await openMarket(t)
  market.clock.now = Date.now()
  const relay = await market.relay()
  const chain = `devnet:${market.devnet.url}`
  const env = { RELAY_CHAIN: chain }
  return {
    ...{ market, relay, chain },
    async person(name: string) {
      const home = join(market.directory, name)
      const run = (...args: string[]) => {
        market.clock.now = Date.now()
        return relayCommand(home, args, { env })
      }
      await run('init', '--label', name, '--relay', `${relay.url}#${relay.key}`)
      await run('wallet', 'faucet', '300000')
      await market.devnet.node.mine(1)
      return { home, run }
    },
  }
}

/** Where the contract of a home is, as its disk says at this moment. */
function placeOf(home: string): string | undefined {
  const folder = join(home, 'contracts')
  const [name] = readdirSync(folder).filter((file) => /^[0-9a-f]{64}\.json$/.test(file))
  if (name === undefined) return undefined
  const { state, stake, funding } = JSON.parse(readFileSync(join(folder, name), 'utf8'))
  return `${state.state}${stake === null ? '' : ' staked'}${funding === null ? '' : ' funded'}`
}

/** Kills the command as soon as the disk says so; true if it was still running. */
async function killedAt(home: string, args: string[], isThere: (place: string) => boolean): Promise<boolean> {
  const { child, ended } = spawnCommand(home, args)
  let isOver = false
  void ended.then(() => {
    isOver = true
  })
  while (!isOver) {
    const place = placeOf(home)
    if (place !== undefined && isThere(place)) break
    await pause(1)
  }
  child.kill('SIGKILL')
  return (await ended).code !== 0
}

t.test('an opening', async (t) => {
  const { market, relay, chain, person } = await setUp(t)
  const places = [
    'staking',
    'staking staked',
    'opening staked',
    'signed staked',
    'signed staked funded',
    'active staked funded',
  ]
  // Each takes seconds; the steps between are gone through in contract-life.test.ts.
  for (const place of ['staking staked', 'signed staked', 'signed staked funded']) {
    const { home, run } = await person(place.replaceAll(' ', '-'))
    const order = ['contract', 'open', relay.url, '--budget', '50000', '--yes', '--chain', chain]
    const wasKilled = await killedAt(home, order, (at) => places.indexOf(at) >= places.indexOf(place))
    t.pass(`${place}: ${wasKilled ? 'killed' : 'done before'}`)
    const again = await run('contract', 'open', relay.url, '--budget', '50000', '--yes')
    t.ok(again.code === 0 || /is open: renew it/.test(again.stderr), again.stderr)
    const { rows } = await run('contract', 'list')
    t.match(
      rows.map(({ state }) => state),
      ['active'],
      `one contract after a kill at: ${place}`,
    )
    await market.devnet.node.mine(1)
    const { satoshis } = (await run('wallet', 'balance')).rows[0]
    t.ok(satoshis > 239_000 && satoshis < 240_000, `one stake is paid: ${300_000 - satoshis}`)
  }
})

t.test('an end', async (t) => {
  const { market, relay, chain, person } = await setUp(t)
  for (const place of ['closing', 'closed']) {
    const { home, run } = await person(place)
    await run('contract', 'open', relay.url, '--budget', '50000', '--yes')
    await market.devnet.node.mine(6)
    await run('agent', '--once')
    await killedAt(home, ['contract', 'close', relay.url, '--yes', '--chain', chain], (at) =>
      at.startsWith(place),
    )
    await run('agent', '--once')
    await market.devnet.node.mine(6)
    await run('agent', '--once')
    t.match((await run('contract', 'list')).rows, [{ state: 'closed' }])
    const { satoshis } = (await run('wallet', 'balance')).rows[0]
    t.ok(satoshis > 299_000, `${300_000 - satoshis} satoshi of fees and service`)
  }
})

t.test('an agent that is killed and started again pays, and stops when it is told to', async (t) => {
  const { market, relay, chain, person } = await setUp(t)
  const { home, run } = await person('agent')
  await run('contract', 'open', relay.url, '--budget', '50000', '--yes')
  await market.devnet.node.mine(6)
  const args = ['agent', '--every', '1s', '--chain', chain]
  for (const end of ['SIGKILL', 'SIGINT'] as const) {
    const agent = spawnCommand(home, args)
    await agent.seen('"depth":6')
    agent.child.kill(end)
    const { code, stderr } = await agent.ended
    t.equal(code, end === 'SIGINT' ? 0 : -1, stderr)
  }
  const { rows } = await run('contract', 'list')
  t.match(rows, [{ state: 'active', depth: 6, verdict: 'explained' }])
  t.ok(rows[0].settled > 0, 'the backup of the coins was paid for')
})
