/** A BRC-100 wallet outside of the home: it signs, encrypts and pays; the home has no key of its own. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { WalletSync } from '../../contracts/wallet/sync/sync.ts'
import { openDevnet, startMs } from '../fixtures/chain.ts'
import { relayCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'
import { keysOf } from '../fixtures/wallet.ts'
import { serveJson } from '../fixtures/wallet-server.ts'

t.setTimeout(280_000)

async function setUp(t: Test) {
  t.testdir()
  const devnet = await openDevnet(t)
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const keys = keysOf('the wallet of alice')
  const parts = { keys, chain: devnet.chain, now: () => startMs }
  const wallet = await EmbeddedWallet.open({ ...parts, directory: join(t.testdirName, 'coins') })
  t.teardown(() => wallet.close())
  const url = await serveJson(t, wallet)
  const fund = async (satoshis: number) => {
    await devnet.chain.faucet!(await wallet.receiveAddress(), satoshis)
    await devnet.node.mine(1)
    await new WalletSync({ ...parts, store: wallet.store }).pass()
  }
  const at = (name: string) => (args: string[], options?: Parameters<typeof relayCommand>[2]) =>
    relayCommand(join(t.testdirName, name), args, options)
  return { devnet, relay, wallet, url, fund, at, address: `${relay.url}#${relay.key}` }
}

t.test('a connected wallet is who one is: messages go both ways, and it pays', async (t) => {
  const { devnet, wallet, url, fund, at, address } = await setUp(t)
  const [alice, bob] = [at('alice'), at('bob')]
  t.match(await alice(['wallet', 'connect', url]), { code: 0, rows: [{ url, identity: wallet.identity }] })
  const made = await alice(['init', '--label', 'Alice', '--relay', address])
  t.match(made, { code: 0, rows: [{ key: wallet.identity }] })
  t.notOk(existsSync(join(t.testdirName, 'alice', 'key.json')), 'no key is made beside it')
  await bob(['init', '--label', 'Bob', '--relay', address])
  await bob(['friend', 'add', '-'], { stdin: (await alice(['id'])).stdout })
  await alice(['friend', 'add', '-'], { stdin: (await bob(['id'])).stdout })

  await alice(['send', 'Bob', '--text', 'signed elsewhere'])
  t.match((await bob(['pull'])).rows, [{ payload: { text: 'signed elsewhere' } }])
  await bob(['send', 'Alice', '--text', 'opened elsewhere'])
  t.match((await alice(['pull'])).rows, [{ payload: { text: 'opened elsewhere' } }])

  await fund(50_000)
  t.match((await alice(['wallet', 'balance'])).rows, [{ satoshis: 50_000, network: 'test', confirmed: null }])
  const env = { RELAY_CHAIN: `devnet:${devnet.url}` }
  const to = (await bob(['wallet', 'address'], { env })).rows[0].address
  const sent = await alice(['wallet', 'send', to, '20000'])
  t.match(sent, { code: 0, rows: [{ satoshis: 20_000, to, network: 'test', fee: Number, left: null }] })
  t.match((await bob(['wallet', 'balance'], { env })).rows, [{ unconfirmed: 20_000 }])
  t.match((await alice(['wallet', 'history'])).rows, [{ txid: sent.rows[0].txid }])
  t.match(await alice(['wallet', 'send', to, '900000']), { code: 6, stderr: /satoshi are missing of/ })
  for (const args of [['address'], ['backup', 'x'], ['recover'], ['faucet']])
    t.match(await alice(['wallet', ...args]), { code: 1, stderr: /ERR_UNSUPPORTED/ }, args[0]!)
})

t.test('a home with another identity stays what it is', async (t) => {
  const { url, wallet, at } = await setUp(t)
  const [alice, carol] = [at('alice'), at('carol')]
  await alice(['init', '--label', 'Alice'])

  t.match(await alice(['wallet', 'connect', url]), { code: 1, stderr: /ERR_CONFLICT/ })
  t.match((await alice(['wallet', 'connect', url])).stderr, /new home, with --home DIR/)
  t.match(await carol(['init', '--label', 'Carol', '--wallet', url]), {
    code: 0,
    rows: [{ key: wallet.identity }],
  })
  t.match(await carol(['wallet', 'connect', url]), { code: 0 }, 'its own wallet may move')
  t.match(await alice(['wallet', 'connect', 'http://127.0.0.1:1']), { code: 3, stderr: /the wallet at/ })
  for (const wrong of ['wallet', 'http://10.0.0.1:3321', 'https://a:b@wallet.example'])
    t.match(await alice(['wallet', 'connect', wrong]), { code: 1, stderr: /ERR_MALFORMED/ }, wrong)
})

t.test(
  'a wallet that keeps its balance to itself is named, and nothing of ours is in its errors',
  async (t) => {
    const { url, wallet, at } = await setUp(t)
    const alice = at('alice')
    await alice(['init', '--label', 'Alice', '--wallet', url])
    wallet.listOutputs = async () => {
      throw new Error('the basket default is mine')
    }
    wallet.createAction = async () => {
      throw new Error('my user says no')
    }

    const balance = await alice(['wallet', 'balance'])
    t.match(balance, { code: 1, stderr: /does not tell its balance.*the basket default is mine.*look there/ })
    const no = await alice(['wallet', 'send', 'mjwk5z1nCZfVY7Ljth6B8DUgHSpKdg5yyy', '1000'])
    t.match(no, { code: 1, stderr: /says no: my user says no/ })
    t.notMatch(no.stderr, /lockingScript/)
  },
)
