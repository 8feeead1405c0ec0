/** docs/protocol.md §12.7, the wire: the sdk's own broadcaster and resolver, the channel, and a relay that advertises on itself. */
import { HTTPSOverlayBroadcastFacilitator, HTTPSOverlayLookupFacilitator } from '@bsv/sdk'
import { LockingScript, LookupResolver, PushDrop, TopicBroadcaster, Transaction } from '@bsv/sdk'
import { pino } from 'pino'
import t from 'tap'
import { OverlayChannel } from '../../contracts/overlay/channel.ts'
import { marketTopic } from '../../contracts/overlay/token.ts'
import { toHex, toUtf8 } from '../../market/bytes.ts'
import { readConfig } from '../../relay/config.ts'
import { outside } from '../../relay/market/outside.ts'
import { control } from '../../relay/operator/control.ts'
import { overlayOutlets } from '../../relay/overlay/outlets.ts'
import { startRelay } from '../../relay/relay.ts'
import { bodyOf, serve } from '../fixtures/chain.ts'
import { cheapBits } from '../fixtures/adverts.ts'
import { openOverlayScene, outputs, scriptOf } from '../fixtures/overlay.ts'

t.test('over real sockets', async (t) => {
  const scene = await openOverlayScene(t)
  const { devnet, directory } = scene
  const now = () => Date.now()
  const start = async (...args: string[]) => {
    const data = `${directory}/relay`
    const all = ['--data', data, '--listen', '127.0.0.1:0', '--min-free-disk', '0', '--open', ...args]
    const config = readConfig([...all, '--limit', `advertBits=${cheapBits}`], {})
    return startRelay(config, { log: pino({ level: 'silent' }), devnetUrl: devnet.url, followEveryMs: 50 })
  }
  const relay = await start('--chain', `devnet:${devnet.url}`)
  let isOpen = true
  t.teardown(() => (isOpen ? relay.close() : undefined))
  const { url } = relay
  const alice = await scene.relay('alice')
  const bob = await scene.relay('bob')
  const text = await scene.advert(alice, { timestamp: now() })

  t.test('TopicBroadcaster and LookupResolver of the sdk', async (t) => {
    const pushDrop = new PushDrop(alice.keys as any)
    const name = [[2, 'relay market advert'], '1', 'anyone', true] as [[2, string], string, string, true]
    const script = await pushDrop.lock([[...toUtf8(text)]], ...name)
    t.equal(script.toHex(), toHex(scriptOf(text, alice)), 'the template makes the same token')

    const fields = ['SHIP', alice.identity, url, marketTopic]
    const bytes = fields.map((field, at) => [...(at === 1 ? Buffer.from(field, 'hex') : Buffer.from(field))])
    const ship = await pushDrop.lock(bytes, [2, 'service host interconnect'], '1', 'anyone', true)
    const shipBeef = Transaction.fromAtomicBEEF([...(await outputs(alice, [ship.toUint8Array()]))]).toBEEF()
    const tracker = await serve(t, async (request, response) => {
      t.equal(JSON.parse(await bodyOf(request)).service, 'ls_ship')
      const answer = { type: 'output-list', outputs: [{ beef: shipBeef, outputIndex: 0 }] }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
    const facilitator = new HTTPSOverlayLookupFacilitator(undefined, true)
    const hostOverrides = { ls_ship: [tracker], ls_relay_market: [url] }
    const resolver = new LookupResolver({ facilitator, hostOverrides })
    const broadcaster = new TopicBroadcaster([marketTopic], {
      facilitator: new HTTPSOverlayBroadcastFacilitator(undefined, true),
      resolver,
    })
    const tx = Transaction.fromAtomicBEEF([...(await outputs(alice, [script.toUint8Array()]))])
    const texts = async (query: unknown) => {
      const { outputs: found } = await resolver.query({ service: 'ls_relay_market', query })
      return found.map(({ beef, outputIndex }) => {
        const { lockingScript } = Transaction.fromBEEF(beef).outputs[outputIndex]!
        return Buffer.from(PushDrop.decode(lockingScript).fields[0]!).toString()
      })
    }

    t.same(await texts({}), [])
    t.match(await broadcaster.broadcast(tx), { status: 'success', txid: tx.id('hex') })
    t.match(await broadcaster.broadcast(tx), { status: 'success' }, 'again, as after a lost answer')
    t.equal((await devnet.chain.status(tx.id('hex'))).state, 'mempool')
    t.same(await texts({ relay: alice.identity, network: 'devnet' }), [text])
    t.same(await texts({ network: 'main' }), [])

    const spend = new Transaction()
    const unlock = pushDrop.unlock([2, 'relay market advert'], '1', 'anyone')
    spend.addInput({ sourceTransaction: tx, sourceOutputIndex: 0, unlockingScriptTemplate: unlock })
    const change = tx.outputs.findIndex(({ satoshis = 0 }) => satoshis > 1)
    t.ok(change > 0)
    spend.addOutput({ lockingScript: LockingScript.fromHex('006a'), satoshis: 0 })
    await spend.sign()
    const steak = await fetch(`${url}/submit`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', 'x-topics': JSON.stringify([marketTopic]) },
      body: new Uint8Array(spend.toBEEF()),
    })
    // It pays no fee, and devnets take none of those.
    t.equal(steak.status, 400)
    t.match(await steak.json(), { status: 'error', code: 'ERR_TRANSACTION_REFUSED', message: /fee/ })
    t.same(await texts({}), [text], 'what the network refuses revokes nothing')
  })

  const channelAt = (host: string) => new OverlayChannel(host, outside({ now }))
  const read = async (host = url) => {
    const texts: string[] = []
    for await (const one of channelAt(host).read()) texts.push(one)
    return texts
  }

  t.test('an outlet publishes, replaces and revokes what the channel reads', async (t) => {
    const open = overlayOutlets({ wallet: () => bob, overlay: undefined })
    const outlet = open(url)
    const first = await scene.advert(bob, { timestamp: now() })
    await outlet.publish(first)
    await outlet.publish(first)
    t.same(await read(), [first, text])
    const second = await scene.advert(bob, { timestamp: now() + 1 })
    await outlet.publish(second)
    t.same(await read(), [second, text])
    await t.rejects(outlet.publish(first), { code: 'ERR_CONFLICT' })
    await t.rejects(outlet.publish(text), { code: 'ERR_WRONG_RELAY' })
    const at = now() + 2
    const last = await scene.advert(bob, { timestamp: at, expires: at })
    await outlet.publish(last)
    t.same(await read(), [last, text])

    await t.rejects(channelAt(url).publish(), { code: 'ERR_FORBIDDEN' })
    await t.rejects(read('http://127.0.0.1:1'), { code: 'ERR_BUSY' })
    await t.rejects(open('http://127.0.0.1:1').publish(last), { code: 'ERR_BUSY' })
    t.throws(() => open('self'), { code: 'ERR_MALFORMED' })
    const liar = await serve(t, (_request, response) => {
      const context = [57]
      response.end(
        JSON.stringify({ type: 'output-list', outputs: [{ beef: [1, 2], outputIndex: 0, context }] }),
      )
    })
    t.same(await read(liar), [])
  })

  t.test('what is refused, and what is said of itself', async (t) => {
    const post = (path: string, body: string | Uint8Array, headers: Record<string, string> = {}) =>
      fetch(`${url}${path}`, { method: 'POST', body: body as string, headers })
    const binary = { 'content-type': 'application/octet-stream' }
    const topics = JSON.stringify([marketTopic])
    const cases = [
      await post('/submit', new Uint8Array(9), binary),
      await post('/submit', new Uint8Array(9), { ...binary, 'x-topics': '["TM"]' }),
      await post('/submit', new Uint8Array(9), { ...binary, 'x-topics': topics }),
      await post('/submit', '{}', { 'content-type': 'application/json', 'x-topics': topics }),
      await post('/submit', new Uint8Array((1 << 20) + 1), { ...binary, 'x-topics': topics }),
      await post('/submit', new Uint8Array((2 << 20) + 1), { ...binary, 'x-topics': topics }),
      await post('/submit', new Uint8Array(9), { ...binary, 'x-topics': '["tm_nowhere"]' }),
      await post('/lookup', '{"service":"ls_nowhere","query":{}}', { 'content-type': 'application/json' }),
      await post('/lookup', '[]', { 'content-type': 'application/json' }),
      await post('/lookup', `"${'x'.repeat(5000)}"`, { 'content-type': 'application/json' }),
    ]
    t.same(
      cases.map(({ status }) => status),
      [400, 400, 400, 400, 413, 413, 404, 404, 400, 413],
    )
    for (const answer of cases) {
      t.equal(answer.headers.get('access-control-allow-origin'), '*')
      t.match(await answer.json(), { status: 'error', code: /^ERR_/, message: /./ })
    }
    const beef = await outputs(bob, [Uint8Array.of(0, 0x6a)])
    const withValues = Buffer.concat([
      Uint8Array.of(0xfd, beef.length & 255, beef.length >> 8),
      beef,
      Uint8Array.of(7),
    ])
    const offChain = { ...binary, 'x-topics': topics, 'x-includes-off-chain-values': 'true' }
    t.same(await (await post('/submit', withValues, offChain)).json(), {
      [marketTopic]: { outputsToAdmit: [], coinsToRetain: [], coinsRemoved: [] },
    })
    const get = async (path: string) => (await fetch(`${url}${path}`)).text()
    t.match(JSON.parse(await get('/listTopicManagers')), { tm_relay_market: { name: marketTopic } })
    t.match(JSON.parse(await get('/listLookupServiceProviders')), {
      ls_relay_market: { shortDescription: /relays/ },
    })
    t.match(await get('/getDocumentationForTopicManager?manager=tm_relay_market'), /^# tm_relay_market/)
    t.match(
      await get('/getDocumentationForLookupServiceProvider?lookupService=ls_relay_market'),
      /^# ls_relay/,
    )
    t.match(JSON.parse(await get('/getDocumentationForTopicManager?manager=constructor')), {
      status: 'error',
    })
  })

  t.test('a relay advertises on its own overlay; a restart loses nothing', async (t) => {
    await control(`${directory}/relay/control.json`, 'wallet-faucet', { satoshis: 50_000 })
    await devnet.node.mine(1)
    isOpen = false
    await relay.close()
    const again = await start('--advertise', 'overlay:self')
    t.teardown(() => again.close())
    t.ok((await read(again.url)).includes(text), 'what was admitted is still there')
    const order = async (name: string) => {
      const { channels } = (await control(`${directory}/relay/control.json`, name, {})) as any
      return channels.find(({ channel }: { channel: string }) => channel === 'overlay:self').outcome
    }
    const ownAdvert = async () =>
      (await read(again.url)).find((one) => JSON.parse(one).serverPubKey === again.key)!
    t.equal(await order('publish-advert'), 'published')
    t.match(JSON.parse(await ownAdvert()), { network: 'devnet', address: again.url })
    t.equal(await order('revoke-advert'), 'published')
    const { timestamp, expires } = JSON.parse(await ownAdvert())
    t.equal(timestamp, expires)
  })
})
