/** docs/protocol.md §8.1: through a proxy, everything; names, onions above all, are never resolved here. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, get } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Client } from '../../client/index.ts'
import { SecureAgent } from '../../market/way/agents.ts'
import { webPost } from '../../client/money/web-session.ts'
import { Dialer } from '../../client/wire/dialer.ts'
import { fetchText } from '../../client/wire/http.ts'
import { openChain } from '../../contracts/chain/open.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { openDevnet } from '../fixtures/chain.ts'
import { identityOf } from '../fixtures/keys.ts'
import { relayCommand, texts } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'
import { startSocks } from '../fixtures/socks-server.ts'

const onion = `${'a'.repeat(55)}d.onion`
const bounds = { timeoutMs: 5000, maxReplyBytes: 100_000 }
const tls = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}.pem`, import.meta.url))

/** Asking it fails the test. */
const silentLookup = (t: Test) => async (host: string) => {
  t.fail(`${host} was resolved`)
  return []
}

const portOf = (url: string): number => Number(new URL(url).port)

t.test('two people, one of them behind an onion relay, talk through the proxy alone', async (t) => {
  const relay = await startTestRelay(join(t.testdir(), 'relay'))
  t.teardown(() => relay.close())
  const secret = { user: 'relay', password: 'p:/@ss' }
  const ports = { [`${onion}:80`]: portOf(relay.url), 'relay.example:80': portOf(relay.url) }
  const socks = await startSocks(t, ports, secret)
  const options = { proxy: socks.url, lookup: silentLookup(t) }
  const init = (label: string, host: string) => {
    const relays = [`http://${host}#${relay.key}`]
    return Client.init(join(t.testdirName, label), { ...options, label, relays })
  }
  const [alice, bob] = [await init('Alice', onion), await init('Bob', 'relay.example')]
  await alice.addFriend((await bob.me()).text)
  const { friend } = await bob.addFriend((await alice.me()).text)
  const stop = new AbortController()
  const heard: string[] = []

  await alice.send(bob.identity, 'hello')
  const pulled = await bob.pull()
  await alice.send(bob.identity, 'again')
  await bob.listen({
    signal: stop.signal,
    onMessage: ({ payload }) => {
      if (payload.type === 'text') heard.push(payload.text)
      stop.abort()
    },
  })
  const typed = await relayCommand(join(t.testdirName, 'Bob'), [
    '--proxy',
    socks.url,
    'ping',
    friend.relays[0]!.url,
  ])

  t.same([await texts(pulled.messages), heard], [['hello'], ['again']])
  const address = { url: 'http://relay.example', key: relay.key }
  const prover = new KeyWallet(identityOf('carol').privateKey)
  const authenticated = webPost(
    { relay: address, prover, dialer: new Dialer(options) },
    { path: '/deposit', body: {} },
  )

  t.equal(typed.code, 0, typed.stderr)
  // It takes no money; but the sdk's own client met it, and it signed its answer.
  await t.rejects(authenticated, { code: 'ERR_FORBIDDEN', signed: true })
  t.same(new Set(socks.asked), new Set(Object.keys(ports)))
})

t.test('without a proxy an onion is not asked for anywhere', async (t) => {
  const dialer = new Dialer({ lookup: silentLookup(t) })
  const url = `http://${onion}/`

  await t.rejects(fetchText(dialer, { url, ...bounds }), { code: 'ERR_NO_PROXY', message: /--proxy socks5h/ })

  const home = join(t.testdir(), 'home')
  const typed = await relayCommand(home, ['init', '--label', 'Dora', '--relay', onion])
  t.match(typed, { code: 3, stderr: /ERR_NO_PROXY/ })
})

t.test('a proxy that does not know the host, or us, is named; no other way is taken', async (t) => {
  const socks = await startSocks(t, {}, { user: 'relay', password: 'right' })
  const ask = (proxy: string, host: string) =>
    fetchText(new Dialer({ proxy, lookup: silentLookup(t) }), { url: `http://${host}/`, ...bounds })
  const failed = {
    code: 'ERR_UNREACHABLE',
    message: /^the proxy 127\.0\.0\.1:\d+ does not lead to relay\.example/,
  }

  await t.rejects(ask(socks.url, 'relay.example'), failed)
  await t.rejects(ask(socks.url.replace('right', 'wrong'), 'relay.example'), failed)
  await t.rejects(ask('socks5h://127.0.0.1:1', 'relay.example'), failed)
  t.same(socks.asked, ['relay.example:80'])
})

t.test('a stranger sends nobody into the network of the proxy by its addresses', async (t) => {
  const socks = await startSocks(t, {})
  const dialer = new Dialer({ proxy: socks.url })

  for (const host of ['10.0.0.1', '[::ffff:192.168.0.1]', '127.0.0.1', 'localhost'])
    await t.rejects(fetchText(dialer, { url: `http://${host}:1/`, ...bounds }), {
      code: 'ERR_PRIVATE_ADDRESS',
    })
  t.same(socks.asked, [])
})

t.test('the chain is reached the same way, and what is on this machine without the proxy', async (t) => {
  const devnet = await openDevnet(t)
  const { username, password, port } = new URL(devnet.url)
  const socks = await startSocks(t, { 'chain.example:80': Number(port) })
  const dialer = new Dialer({ proxy: socks.url, lookup: silentLookup(t) })
  const tipBy = async (host: string) => {
    const url = `http://${username}:${password}@${host}`
    const agentOf = dialer.agentOf.bind(dialer)
    const chain = await openChain({ chain: `devnet:${url}`, agentOf })
    t.teardown(() => chain.close())
    return chain.tip()
  }

  const [far, near] = [await tipBy('chain.example'), await tipBy(`127.0.0.1:${port}`)]

  t.same(far, near)
  t.same(new Set(socks.asked), new Set(['chain.example:80']))
})

t.test('https is end to end, through the proxy and without it', async (t) => {
  const server = createServer({ cert: tls('cert'), key: tls('key') }, (_, response) => response.end('ok'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const socks = await startSocks(t, { 'relay.example:443': port })
  const behind = new Dialer({ proxy: socks.url, lookup: silentLookup(t) })
  const direct = new Dialer({ lookup: async () => ['127.0.0.1'], allowPrivate: true })
  const statusBy = async (dialer: Dialer, host: string, options: object) => {
    const agent = new SecureAgent(dialer, { ca: tls('cert') })
    const [response] = await once(get(`https://${host}/`, { agent, ...options }), 'response')
    return response.resume().statusCode
  }

  t.equal(await statusBy(behind, 'relay.example', { servername: 'localhost' }), 200)
  t.equal(await statusBy(direct, `localhost:${port}`, {}), 200)
  await t.rejects(statusBy(behind, 'relay.example', {}), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
})

t.test('what is no proxy is said, without its password', async (t) => {
  for (const text of ['socks5://u:secret@h:1', 'http://u:secret@h', '127.0.0.1:9050', 'socks5h://h/x']) {
    t.throws(() => new Dialer({ proxy: text }), { code: 'ERR_MALFORMED', message: /^(?!.*secret)/ }, text)
  }
})
