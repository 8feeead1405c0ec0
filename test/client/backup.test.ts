import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fromKeyWallet } from '../../client/index.ts'
import { Connection } from '../../client/wire/connection.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import type { RelayAddress } from '../../market/address.ts'
import { openDevnet } from '../fixtures/chain.ts'
import { startGate } from '../fixtures/lying-relay.ts'
import { relayCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)

const isBackup = (body: string) => body.includes('"content":') && body.includes('"tag":"wallet-backup"')

async function setUp(t: Test, names: readonly string[]) {
  t.testdir()
  const devnet = await openDevnet(t)
  const ways = []
  for (const name of names) {
    const relay = await startTestRelay(join(t.testdirName, name))
    t.teardown(() => relay.close())
    ways.push(await startGate(t, relay))
  }
  const home = join(t.testdirName, 'alice')
  const alice = (args: string[], options: Parameters<typeof relayCommand>[2] = {}) =>
    relayCommand(home, args, { env: { RELAY_CHAIN: `devnet:${devnet.url}` }, ...options })
  await alice(['init', '--label', 'Alice', ...ways.flatMap(({ url, key }) => ['--relay', `${url}#${key}`])])
  const wallet = fromKeyWallet(await openKeyFile(join(home, 'key.json'), {}))
  /** The paths of the backups that a relay has. */
  const backupsAt = async (relay: RelayAddress): Promise<string[]> => {
    const request = { type: 'inventory' as const, owner: [wallet.identity], tag: 'wallet-backup', afterTs: 0 }
    const { reply } = await new Connection(relay, wallet).call(request)
    return reply.result.map((entry) => (typeof entry === 'string' ? entry : entry.path))
  }
  return { ways, alice, backupsAt }
}

t.test('what interruptions left on a relay goes when the next backup is placed', async (t) => {
  const { ways, alice, backupsAt } = await setUp(t, ['relay'])
  const way = ways[0]!
  for (let round = 0; round < 3; round++) {
    const interrupt = new AbortController()
    way.isCut = (body) => {
      if (!isBackup(body)) return false
      interrupt.abort()
      return true
    }
    const { stderr } = await alice(['wallet', 'faucet', '5000'], { signal: interrupt.signal })
    t.match(stderr, /the backup of your coins is not on all your relays: interrupted/)
  }
  t.equal((await backupsAt(way)).length, 3, 'nobody heard that the relay has them')
  way.isCut = () => false

  t.match(await alice(['wallet', 'faucet', '5000']), { code: 0, stderr: '' })
  t.equal((await backupsAt(way)).length, 1)
  t.same((await alice(['wallet', 'balance'])).rows[0].satoshis, 20_000)
})

t.test('a relay keeps the former backup until it has taken the new one itself', async (t) => {
  const { ways, alice, backupsAt } = await setUp(t, ['first', 'second'])
  const [first, second] = ways as [(typeof ways)[0], (typeof ways)[0]]
  await alice(['wallet', 'faucet', '5000'])
  const before = await backupsAt(second)
  t.equal(before.length, 1)
  t.same(await backupsAt(first), before)

  second.isShut = isBackup
  await alice(['wallet', 'faucet', '5000'])
  await alice(['pull'])
  const [newest] = await backupsAt(first)
  t.not(newest, before[0])
  t.equal((await backupsAt(first)).length, 1)
  t.same(await backupsAt(second), before, 'its only one is not taken from it')

  second.isShut = () => false
  await alice(['pull'])
  await alice(['pull'])
  t.same(await backupsAt(second), [newest])
  t.same(await backupsAt(first), [newest])
})
