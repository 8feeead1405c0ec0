/** docs/protocol.md §14 with the sdk's own clients: relayd is the only tracker there is, and tells what it hosts. */
import { HTTPSOverlayLookupFacilitator, Transaction, type WalletInterface } from '@bsv/sdk'
import { MessageBoxClient } from '@bsv/message-box-client'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { pino } from 'pino'
import t from 'tap'
import { phipServices, readPhip, routingKey, routingMessage } from '../../contracts/overlay/phip.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { sha256 } from '../../market/hash.ts'
import { readConfig } from '../../relay/config.ts'
import { control } from '../../relay/operator/control.ts'
import { startRelay } from '../../relay/relay.ts'
import { boxUser } from '../fixtures/boxes.ts'
import { openScene } from '../fixtures/wallet.ts'

t.setTimeout(60_000)
for (const method of ['warn', 'info', 'log', 'error'] as const) t.capture(console, method)
const address = 'https://relay.example.org'
const dispatcher = Symbol.for('undici.globalDispatcher.1')

async function freeAddress(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number } // of TCP
  await new Promise((closed) => server.close(closed))
  return `127.0.0.1:${port}`
}

/** Asks until it is so: a relay tells things when it looks. @throws after 10 s */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const start = performance.now()
  while (!(await isSo())) {
    if (performance.now() - start > 10_000) throw new Error('it did not become so')
    await setTimeout(20)
  }
}

t.test('the unmodified clients', async (t) => {
  const scene = await openScene(t)
  const data = `${scene.directory}/relay`
  // Taken again at each start: it is called by another address.
  const listen = await freeAddress()
  const local = `http://${listen}`
  const start = (...args: string[]) => {
    const all = ['--data', data, '--listen', listen, '--min-free-disk', '0', '--open', '--open-boxes']
    const config = readConfig([...all, '--chain', `devnet:${scene.devnet.url}`, ...args], {})
    return startRelay(config, {
      log: pino({ level: 'silent' }),
      devnetUrl: scene.devnet.url,
      followEveryMs: 20,
    })
  }
  const announced = ['--public-url', address, '--advertise-overlay', 'self']
  let relay = await start(...announced)
  t.teardown(() => relay.close())
  // Nobody has a name of his own here: every https address leads to the one relay.
  await fetch(local)
  const everywhere = globalThis as any
  const plain = everywhere[dispatcher]
  everywhere[dispatcher] = {
    dispatch: (options: any, handler: unknown) =>
      plain.dispatch(/^https:/.test(options.origin) ? { ...options, origin: local } : options, handler),
  }
  t.teardown(() => {
    everywhere[dispatcher] = plain
  })
  const found = async (service: string, query: unknown) => {
    const { outputs } = await new HTTPSOverlayLookupFacilitator(fetch).lookup(address, { service, query })
    return outputs
  }
  const hosting = async (service: string, query: unknown) => (await found(service, query)).length

  await t.test('a relay tells what it hosts as soon as it has coins', async (t) => {
    t.equal(await hosting('ls_slap', { service: 'ls_ship' }), 0)
    await control(`${data}/control.json`, 'wallet-faucet', { satoshis: 50_000 })
    await scene.devnet.node.mine(1)
    await until(async () => (await hosting('ls_slap', 'findAll')) === 5)
    await until(async () => (await hosting('ls_ship', 'findAll')) === 5)
    t.equal(await hosting('ls_ship', { topics: ['tm_messagebox'], domain: address }), 1)
  })

  const clientOf = async (name: string) => {
    const wallet = await scene.open(name)
    await scene.fund(wallet, [20_000, 20_000])
    const walletClient = wallet as unknown as WalletInterface // it has what the client asks for
    return { wallet, box: new MessageBoxClient({ host: 'https://elsewhere.example.org', walletClient }) }
  }

  await t.test('MessageBoxClient anoints, is found, anoints again and revokes', async (t) => {
    const alice = await clientOf('alice')
    const bob = await clientOf('bob')
    const { identity } = alice.wallet
    const adverts = () => bob.box.queryAdvertisements(identity)
    t.equal(await bob.box.resolveHostForRecipient(identity), 'https://elsewhere.example.org')
    t.match(await alice.box.anointHost(address), { txid: /^[0-9a-f]{64}$/ })
    t.equal(await bob.box.resolveHostForRecipient(identity), address)
    const sent = await bob.box.sendMessage({ recipient: identity, messageBox: 'inbox', body: 'found' })
    t.equal(sent.status, 'success')
    const [got] = await alice.box.listMessages({ messageBox: 'inbox', host: address })
    t.equal(got?.body, 'found')

    await alice.box.anointHost('https://moved.example.org')
    t.same(
      (await adverts()).map(({ host }) => host),
      ['https://moved.example.org'],
      'in place of the one before',
    )
    const [token] = await adverts()
    await alice.box.revokeHostAdvertisement(token!)
    t.same(await adverts(), [])
  })

  await t.test('somebody lets the relay take his messages, and it says so', async (t) => {
    const carol = await boxUser({ url: local }, 'carol')
    const routing = { host: relay.key, domain: 'relay.example.org', boxes: '^inbox$' }
    const authorize = (message: string, signature: unknown) =>
      carol.post('/authorizeRouting', { message, signature })
    const sign = (message: string) => carol.keys.ownKey(routingKey).sign(sha256(message))
    const message = routingMessage(routing)
    const other = routingMessage({ ...routing, domain: 'other.example.org' })
    for (const [answer, code] of [
      [await authorize(message, [...sign(other)]), 'ERR_SIGNATURE_INVALID'],
      [await authorize(message, 'no'), 'ERR_SIGNATURE_INVALID'],
      [await authorize(other, [...sign(other)]), 'ERR_INVALID_ROUTING'],
      [await authorize('hello', [...sign('hello')]), 'ERR_INVALID_ROUTING'],
      [await carol.post('/authorizeRouting', '{'), 'ERR_MALFORMED'],
      [await carol.post('/authorizeRouting', '{}'), 'ERR_INVALID_REQUEST'],
    ] as const)
      t.match(answer, { status: 400, body: { status: 'error', code } })
    t.match(await authorize(message, [...sign(message)]), { status: 200, body: { status: 'success' } })
    t.match(await authorize(message, Buffer.from(sign(message)).toString('base64')), { status: 200 }, 'again')
    const said = async (service: string) => {
      const outputs = await found(service, { user: carol.key })
      return outputs.map(({ beef, outputIndex }) =>
        readPhip(parseBeef(Uint8Array.from(beef)).subject.transaction.outputs[outputIndex]!.script),
      )
    }
    await until(async () => (await said('ls_phip'))[0]?.boxes === '^inbox$')
    for (const [boxes, status] of [
      ['^a$', 200],
      ['^b$', 200],
      ['^c$', 200],
      ['^d$', 429],
    ] as const) {
      const other = routingMessage({ ...routing, boxes })
      t.match(
        await authorize(other, [...sign(other)]),
        { status },
        'not as often as one likes: it costs coins',
      )
    }
    for (const service of phipServices) {
      await until(async () => (await said(service))[0]?.boxes === '^c$')
      t.match(await said(service), [{ ...routing, boxes: '^c$', user: carol.key }])
      t.equal((await said(service)).length, 1, 'in place of those before')
    }
  })

  await t.test('a restart says nothing twice; what is not told any more is revoked', async (t) => {
    const again = async (...args: string[]) => {
      await relay.close()
      relay = await start(...args)
    }
    const said = async () =>
      (await found('ls_ship', 'findAll')).map(({ beef }) => Transaction.fromBEEF(beef).id('hex'))
    const before = await said()
    await again(...announced)
    await scene.devnet.node.mine(1)
    t.same(await said(), before)
    await again('--public-url', address)
    for (const service of ['ls_ship', 'ls_slap'])
      await until(async () => (await hosting(service, 'findAll')) === 0)
  })
})

t.test('where nobody could be reached, nothing is told', (t) => {
  const told = ['--data', 'x', '--advertise-overlay', 'self']
  for (const args of [
    told,
    [...told, '--public-url', 'http://relay.example.org'],
    [...told, '--public-url', 'https://relay.example.org/path'],
    [...told, '--public-url', address, '--no-overlay'],
    ['--data', 'x', '--public-url', address, '--advertise-overlay', 'other'],
    ['--data', 'x', '--phip-deny', 'nobody'],
  ])
    t.throws(() => readConfig(args, {}), { message: /^--(advertise-overlay|phip-deny)/ })
  t.end()
})
