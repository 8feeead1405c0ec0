/** docs/protocol.md §8.1: a stranger's word leads to the open internet alone, and the address that was judged is connected to. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Client } from '../../client/index.ts'
import { identityUrl } from '../../client/people/identity-url.ts'
import { fromKeyWallet } from '../../client/wallet.ts'
import { Connection } from '../../client/wire/connection.ts'
import { Dialer } from '../../client/wire/dialer.ts'
import { fetchText } from '../../client/wire/http.ts'
import { live } from '../../client/wire/live.ts'
import { isPublic } from '../../market/way/ranges.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { alice, bob } from '../fixtures/keys.ts'
import { befriend, person, relayCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

const bounds = { timeoutMs: 5000, maxReplyBytes: 1000 }
const refused = { code: 'ERR_PRIVATE_ADDRESS' }

/** A server that answers with its own address, and counts who connects. */
async function listenOn(t: Test, host: string, port = 0, answer?: string) {
  let connections = 0
  const server = createServer((_, response) => {
    if (answer === undefined) return response.end(host)
    return response.writeHead(302, { location: answer }).end()
  }).on('connection', () => connections++)
  server.listen(port, host)
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, connections: () => connections }
}

/** Answers of a name server: the next ones each time. */
function names(...answers: string[][]) {
  const asked: string[] = []
  const lookup = async (host: string) => {
    asked.push(host)
    return answers[asked.length - 1] ?? []
  }
  return { asked, lookup }
}

t.test('what is open to anybody, and what is not', async (t) => {
  const open = ['8.8.8.8', '1.1.1.1', '172.32.0.1', '2606:4700::1111', '::ffff:8.8.8.8', '64:ff9b::808:808']
  const closed = [
    ...['127.0.0.1', '127.9.9.9', '0.0.0.0', '10.0.0.1', '172.16.0.1', '192.168.1.1', '100.64.0.1'],
    ...['169.254.169.254', '168.63.129.16', '100.100.100.200', '192.0.0.192', '224.0.0.1', '240.0.0.1'],
    ...[
      '255.255.255.255',
      '198.18.0.1',
      '192.0.2.1',
      '::',
      '::1',
      'fe80::1',
      'fe80::1%eth0',
      'fd00:ec2::254',
    ],
    ...['fec0::1', 'ff02::1', '::127.0.0.1', '::ffff:127.0.0.1', '::ffff:a00:1', '64:ff9b::7f00:1'],
    ...['64:ff9b::a9fe:a9fe', '64:ff9b:1::808:808', '2002:7f00:1::', '2001::1', '2001:db8::1', '4000::1'],
  ]

  t.same(
    open.filter((address) => !isPublic(address)),
    [],
  )
  t.same(closed.filter(isPublic), [])
})

t.test('an address inside is refused, however it is written, and nothing is sent there', async (t) => {
  const server = await listenOn(t, '127.0.0.1')
  const { lookup } = names(
    ['127.0.0.1'],
    ['::ffff:127.0.0.1', '127.0.0.1'],
    ['64:ff9b::7f00:1'],
    ['10.0.0.1'],
  )
  const dialer = new Dialer({ lookup })
  const hosts = ['127.0.0.1', '2130706433', '0x7f.1', '127.0.0.1.', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0']

  for (const host of [...hosts, 'a.example', 'b.example', 'c.example', 'd.example'])
    await t.rejects(fetchText(dialer, { url: `http://${host}:${server.port}/`, ...bounds }), refused, host)

  t.equal(server.connections(), 0)
})

t.test(
  'the address that was judged is the one that is connected to, whatever the name says next',
  async (t) => {
    const judged = await listenOn(t, '127.0.0.1')
    const other = await listenOn(t, '127.0.0.2', judged.port)
    const { lookup, asked } = names(['127.0.0.1'], ['127.0.0.2'])
    const dialer = new Dialer({ lookup, allowPrivate: true })

    const reply = await fetchText(dialer, { url: `http://friend.example:${judged.port}/`, ...bounds })

    t.same([reply.text, asked, other.connections()], ['127.0.0.1', ['friend.example'], 0])
  },
)

t.test('of the addresses of a name, only those outside are tried', async (t) => {
  const { lookup } = names(['10.0.0.1', '8.8.8.8', '::1'])

  const way = await new Dialer({ lookup }).route({ host: 'friend.example', port: 443 })

  t.same(way, { addresses: ['8.8.8.8'] })
})

t.test('what the user named himself may be anywhere, and no other port of it', async (t) => {
  const [named, beside] = [await listenOn(t, '127.0.0.2'), await listenOn(t, '127.0.0.2')]
  const dialer = new Dialer({ lookup: async () => ['127.0.0.2'] })
  dialer.allow(`http://relay.example:${named.port}/prefix`)

  const url = (port: number) => `http://relay.example:${port}/`

  t.equal((await fetchText(dialer, { url: url(named.port), ...bounds })).text, '127.0.0.2')
  await t.rejects(fetchText(dialer, { url: url(beside.port), ...bounds }), refused)
})

t.test('a redirect is not followed', async (t) => {
  const inside = await listenOn(t, '127.0.0.1')
  const server = await listenOn(t, '127.0.0.1', 0, `http://127.0.0.1:${inside.port}/`)
  const url = `http://127.0.0.1:${server.port}/`
  const dialer = new Dialer({ allowPrivate: true })

  await t.rejects(fetchText(dialer, { url, ...bounds }), { code: 'ERR_UNREACHABLE', message: /redirects/ })

  t.equal(inside.connections(), 0)
})

t.test('a WebSocket goes no further', async (t) => {
  const server = await listenOn(t, '127.0.0.1')
  const address = { url: `http://friend.example:${server.port}`, key: alice.identity }
  const dialer = new Dialer({ lookup: async () => ['127.0.0.1'] })
  const connection = new Connection(address, fromKeyWallet(new KeyWallet(bob.privateKey)), { dialer })
  const stop = new AbortController()
  const failures: Error[] = []

  await live(connection, {
    ...{ owners: [alice.identity], cursor: async () => undefined, signal: stop.signal },
    ...{ onRecords: () => undefined, onLive: () => undefined },
    onDown: (error) => {
      failures.push(error)
      stop.abort()
    },
  })

  t.match(failures, [refused])
  t.equal(server.connections(), 0)
})

t.test('a friend leads nobody into his own network who did not go there himself', async (t) => {
  const relay = await startTestRelay(join(t.testdir(), 'relay'))
  t.teardown(() => relay.close())
  const alice = await person(join(t.testdirName, 'alice'), 'Alice', [relay])
  const [bob, carol] = [
    await person(join(t.testdirName, 'bob'), 'Bob'),
    await person(join(t.testdirName, 'carol'), 'Carol', [relay]),
  ]
  await befriend(alice, bob, carol)

  const strict = await bob.client.pull({ attempts: 1 })
  const allowed = await (await Client.open(bob.home, { allowPrivate: true })).pull()
  const neighbour = await carol.client.pull()

  t.match(strict.failures, [{ relay: relay.url, error: refused }])
  t.same([allowed.failures, neighbour.failures], [[], []])

  const typed = await relayCommand(bob.home, ['ping', `${relay.url}#${relay.key}`])
  const piped = await relayCommand(bob.home, ['pull'])
  const open = await relayCommand(bob.home, ['--allow-private', 'pull'])
  const byVariable = await relayCommand(bob.home, ['pull'], { env: { RELAY_ALLOW_PRIVATE: '1' } })

  const dave = await person(join(t.testdirName, 'dave'), 'Dave')
  const url = identityUrl(await alice.client.me())
  await relayCommand(dave.home, ['friend', 'add', url])
  t.equal((await relayCommand(dave.home, ['pull'])).code, 0, 'whoever types a URL names its place')

  t.same([typed.code, piped.code, open.code, byVariable.code], [0, 3, 0, 0])
  t.match(piped.stderr, /ERR_PRIVATE_ADDRESS/)
})
