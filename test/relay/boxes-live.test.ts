/** docs/protocol.md §13.7: live message boxes, for the client of BSV wallets as it is and for whoever speaks by the letter. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { LookupResolver, type WalletInterface } from '@bsv/sdk'
import { MessageBoxClient, PeerPayClient } from '@bsv/message-box-client'
import { io, type Socket } from 'socket.io-client'
import t from 'tap'
import { boxUser, openBoxScene, told } from '../fixtures/boxes.ts'
import { liveUser } from '../fixtures/box-live.ts'
import { openRelay, startTestRelay } from '../fixtures/relay.ts'
import { keysOf } from '../fixtures/wallet.ts'

t.setTimeout(30_000)
for (const method of ['warn', 'info', 'log', 'error'] as const) t.capture(console, method)
const many = ['--limit', 'failuresPerMinute=100000']

t.test('the unmodified client', async (t) => {
  const scene = await openBoxScene(t, ['--open-boxes', '--box-fee', 'paid=7'])
  const host = scene.relay.url
  const local = { networkPreset: 'local' as const, hostOverrides: { ls_messagebox: [host] } }
  const clientOf = async (name: string) => {
    const wallet = await (name === 'alice' ? scene.person(name, [50_000]) : scene.open(name))
    const walletClient = wallet as unknown as WalletInterface // it has what the client asks for
    const box = new MessageBoxClient({ host, walletClient, networkPreset: 'local' })
    const pay = new PeerPayClient({ messageBoxHost: host, walletClient })
    for (const each of [box, pay]) Object.assign(each, { lookupResolver: new LookupResolver(local) })
    t.teardown(async () => {
      await box.disconnectWebSocket()
      await pay.disconnectWebSocket()
    })
    return { key: wallet.identity, box, pay }
  }
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map(clientOf))
  if (!alice || !bob || !carol) throw new Error('nobody')
  const heard = (who: typeof alice, messageBox: string) => {
    const got: { sender: string; body: unknown; messageId: string }[] = []
    let wake: (() => void) | undefined
    const listening = who.box.listenForLiveMessages({
      messageBox,
      overrideHost: host,
      onMessage: (message) => {
        got.push(message as (typeof got)[0])
        wake?.()
      },
    })
    return {
      listening,
      got,
      async next() {
        while (got.length === 0) await new Promise<void>((resolve) => (wake = resolve))
        return got.shift()!
      },
    }
  }

  await t.test('hears at once what is sent to it, live or not', async (t) => {
    const [bobs, carols] = [heard(bob, 'a-box-of-hyphens'), heard(carol, 'a-box-of-hyphens')]
    await Promise.all([bobs.listening, carols.listening])
    const to = { recipient: bob.key, messageBox: 'a-box-of-hyphens' }
    const sent = await alice.box.sendLiveMessage({ ...to, body: 'live' }, host)
    t.match(sent, { status: 'success' })
    t.match(await bobs.next(), { sender: alice.key, body: 'live', messageId: sent.messageId })
    const body = { text: 'over HTTP' }
    const posted = await alice.box.sendMessage({ ...to, body }, host)
    const { body: got, messageId } = await bobs.next()
    t.same([JSON.parse(String(got)), messageId], [body, posted.messageId])
    t.same(
      (await bob.box.listMessagesLite({ messageBox: 'a-box-of-hyphens', host })).map(({ body }) => body),
      ['live', body],
    )
    await bob.box.leaveRoom('a-box-of-hyphens')
    await alice.box.sendLiveMessage({ ...to, body: 'after' }, host)
    t.same([bobs.got, carols.got], [[], []], 'neither who has left nor anybody else')
  })

  await t.test('falls back to HTTP for what is paid or blocked', async (t) => {
    await bob.box.setMessageBoxPermission({ messageBox: 'shut', recipientFee: -1 })
    const live = (messageBox: string) =>
      alice.box.sendLiveMessage({ recipient: bob.key, messageBox, body: 'x', checkPermissions: true }, host)
    await t.rejects(live('shut'), /blocked/)
    const paid = heard(bob, 'paid')
    await paid.listening
    t.match(await live('paid'), { status: 'success' }, 'with a payment')
    t.match(await paid.next(), { sender: alice.key, body: 'x' })
  })

  await t.test('PeerPay', async (t) => {
    const arrived = new Promise<any>((onPayment) => {
      void bob.pay.listenForLivePayments({ onPayment, overrideHost: host })
    })
    await alice.pay.sendLivePayment({ recipient: bob.key, amount: 1234 }, host)
    const payment = await arrived
    t.match(payment, { sender: alice.key, token: { amount: 1234 } })
    await bob.pay.acceptPayment(payment)
    t.same(await bob.pay.listIncomingPayments(host), [])
  })
})

t.test('by the letter', async (t) => {
  const data = t.testdir()
  const relay = await startTestRelay(data, { args: ['--open-boxes', ...many] })
  t.teardown(() => relay.close())
  const open = (options: Parameters<typeof io>[1]): Socket => {
    const socket = io(relay.url, { forceNew: true, reconnection: false, ...options })
    t.teardown(() => void socket.disconnect())
    return socket
  }

  await t.test('all ways of Engine.IO', async (t) => {
    for (const transports of [['polling', 'websocket'], ['websocket'], ['polling']]) {
      const bob = liveUser(relay, 'bob', { transports, rooms: ['inbox'] })
      const alice = liveUser(relay, 'alice', { transports })
      await Promise.all([bob.heard('joinedRoom'), alice.heard('authenticationSuccess')])
      const body = `${transports} ${'x'.repeat(50_000)}`
      const ack = await alice.send(bob, 'inbox', { messageId: String(transports), body })
      t.same(ack, { status: 'success', messageId: String(transports) })
      t.equal((await bob.heard(`sendMessage-${bob.key}-inbox`)).body, body)
      for (const each of [alice, bob]) each.close()
    }
  })

  await t.test('refuses events that nobody has signed', async (t) => {
    const bob = keysOf('bob').identity
    for (const [name, data] of [
      ['authenticated', { identityKey: bob }],
      ['joinRoom', `${bob}-inbox`],
      ['sendMessage', { roomId: `${bob}-inbox`, message: { messageId: 'raw', recipient: bob, body: 'x' } }],
    ] as const) {
      const socket = open({})
      await next(socket, 'connect')
      const ends = [next(socket, 'authenticationFailed'), next(socket, 'disconnect')]
      socket.emit(name, data)
      const [[told], [reason]] = (await Promise.all(ends)) as [any[], any[]]
      t.match(told, { reason: /BRC-103/ })
      t.equal(reason, 'io server disconnect', 'and it need not come again')
    }
  })

  await t.test('nobody is somebody else', async (t) => {
    const [mallory, bob] = [liveUser(relay, 'mallory'), liveUser(relay, 'bob', { rooms: ['inbox'] })]
    await Promise.all([mallory.heard('authenticationSuccess'), bob.heard('joinedRoom')])
    mallory.emit('authenticated', { identityKey: bob.key })
    t.match(await mallory.heard('authenticationFailed'), { reason: /not the identity/ })
    mallory.emit('joinRoom', `${bob.key}-inbox`)
    t.match(await mallory.heard('joinFailed'), { reason: /no room/ })
    mallory.emit('leaveRoom', `${bob.key}-inbox`)
    t.match(await mallory.heard('leaveFailed'), { reason: /no room/ })
    const crossed = await mallory.send(bob, 'inbox', { messageId: '1', body: 'x', recipient: mallory.key })
    t.match(crossed, { status: 'error', code: 'ERR_INVALID_RECIPIENT_KEY' })
    t.match(await mallory.send({ key: '02' }, 'inbox', { body: 'x' }), { status: 'error' })
    mallory.emit('sendMessage', { message: {} })
    t.match(await mallory.heard('messageFailed'), { reason: /room/ })
    t.match(await mallory.send(bob, 'inbox', { messageId: '2', body: '' }), {
      code: 'ERR_INVALID_MESSAGE_BODY',
    })
    t.equal(bob.unheard(`sendMessage-${bob.key}-inbox`), 0)

    const header = { 'x-bsv-auth-identity-key': bob.key }
    const claimed = open({ extraHeaders: header })
    t.match((await next(claimed, 'connect_error'))[0], { message: /xhr|poll/ }, 'by a header')
    for (const bend of [
      (message: any) => ({ ...message, identityKey: bob.key }),
      (message: any) => ({ ...message, payload: [...message.payload, 32] }),
      (message: any) => ({ ...message, signature: message.signature.slice(1) }),
    ]) {
      const { socket, message, again } = await captured(relay, 'mallory')
      socket.emit('authMessage', bend(message))
      t.match((await again)[0], 'io server disconnect', 'by a message')
    }
    const { socket, message, again, answered } = await captured(relay, 'mallory')
    socket.emit('authMessage', message)
    await answered
    socket.emit('authMessage', message)
    t.match((await again)[0], 'io server disconnect', 'the same message again')
    for (const each of [mallory, bob]) each.close()
  })

  await t.test('what a client has not left or named is heard; ids are as over HTTP', async (t) => {
    const [alice, bob] = [liveUser(relay, 'alice'), liveUser(relay, 'bob')]
    const inbox = `sendMessage-${bob.key}-inbox`
    const http = await boxUser(relay, 'alice')
    await Promise.all([alice, bob].map((each) => each.heard('authenticationSuccess')))
    const first = bob.heard(inbox)
    t.match(await alice.send(bob, 'inbox', { messageId: 'same', body: 'x' }), { status: 'success' })
    t.match(await first, { messageId: 'same' })
    t.match(await alice.send(bob, 'inbox', { messageId: 'same', body: 'x' }), { status: 'success' })
    t.match(await alice.send(bob, 'inbox', { messageId: 'same', body: 'y' }), {
      code: 'ERR_DUPLICATE_MESSAGE',
    })
    t.match((await http.send(bob, { messageId: 'same', body: 'x' })).status, 200)
    bob.emit('joinRoom', `${bob.key}-other`)
    await bob.heard('joinedRoom')
    t.match(await alice.send(bob, 'inbox', { messageId: 'unheard', body: 'x' }), { status: 'success' })
    const other = bob.heard(`sendMessage-${bob.key}-other`)
    await http.send(bob, { messageBox: 'other', body: { a: 1 } })
    t.same((await other).body, { a: 1 })
    t.equal(bob.unheard(inbox), 0)
    for (const each of [alice, bob]) each.close()
  })

  await t.test('malformed frames by the thousand', async (t) => {
    setFlagsFromString('--expose-gc')
    const gc = runInNewContext('gc') as () => void
    const storm = async (count: number) => {
      const lane = async (of: number) => {
        for (let at = of; at < count; at += 32) await throwAt(relay.url, malformed[at % malformed.length]!)
      }
      await Promise.all(Array.from({ length: 32 }, (_, of) => lane(of)))
      gc()
      return process.memoryUsage().heapUsed
    }
    const before = await storm(100)
    const after = await storm(1000)
    t.ok(after - before < 4e6, `${after - before} bytes more`)
    const posted = await fetch(`${relay.url}/socket.io/?EIO=4&transport=polling&sid=none`, { method: 'POST' })
    t.same([posted.status, await posted.json()], [400, { code: 1, message: 'Session ID unknown' }])
    for (const [query, code] of [
      ['', 5],
      ['EIO=4', 0],
      ['EIO=4&transport=websocket', 3],
      ['EIO=3&transport=polling', 5],
    ] as const) {
      const refused = await fetch(`${relay.url}/socket.io/?${query}`)
      t.match(await refused.json(), { code })
    }
    const large = await fetch(`${relay.url}/socket.io/?EIO=4&transport=polling&sid=none`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: 'x'.repeat(6 << 20),
    }).catch(() => ({ status: 413 }))
    t.equal(large.status, 413, 'a payload that is too large')
  })
})

t.test('whoever never says who he is need not come again', async (t) => {
  const { url, clock } = await openRelay(t, ['--open-boxes', '--limit', 'connections=2'])
  const socket = io(url, { forceNew: true, transports: ['websocket'] })
  await next(socket, 'connect')
  const ended = next(socket, 'disconnect')
  clock.ms += 31_000
  t.same((await ended)[0], 'io server disconnect')

  const oldest = io(url, { forceNew: true, transports: ['websocket'], reconnection: false })
  await next(oldest, 'connect')
  const pushed = next(oldest, 'disconnect')
  const polled = async () => (await fetch(`${url}/socket.io/?EIO=4&transport=polling`)).text()
  t.match([await polled(), await polled()], [/^0\{"sid"/, /^0\{"sid"/])
  t.same((await pushed)[0], 'transport close', 'and gives way where there is no room')
})

t.test('a restart', async (t) => {
  const data = t.testdir()
  const args = ['--open-boxes']
  let relay = await startTestRelay(data, { args })
  const { url } = relay
  const [alice, bob] = [liveUser(relay, 'alice'), liveUser(relay, 'bob', { rooms: ['inbox'] })]
  await Promise.all([alice.heard('authenticationSuccess'), bob.heard('joinedRoom')])
  const walletClient = keysOf('carol') as unknown as WalletInterface
  const carol = new MessageBoxClient({ host: url, walletClient, networkPreset: 'local' })
  const listen = () =>
    new Promise<any>((onMessage) => {
      void carol.listenForLiveMessages({ onMessage, messageBox: 'inbox', overrideHost: url })
    })
  void listen()
  await carol.initializeConnection(url)
  const forgotten = carol.testSocket!
  const gone = new Promise((resolve) => forgotten.on('disconnect', resolve))
  await relay.close()
  await gone

  relay = await startTestRelay(data, { args: [...args, '--listen', new URL(url).host] })
  t.teardown(() => relay.close())
  await Promise.all([alice.heard('authenticationSuccess'), bob.heard('joinedRoom')])
  t.match(await alice.send(bob, 'inbox', { messageId: 'after', body: 'x' }), { status: 'success' })
  t.match(
    await bob.heard(`sendMessage-${bob.key}-inbox`),
    { messageId: 'after' },
    'clients recover by themselves',
  )
  const arrived = listen()
  await carol.initializeConnection(url)
  await alice.send({ key: keysOf('carol').identity }, 'inbox', { messageId: 'c', body: 'x' })
  t.match(await arrived, { messageId: 'c' }, 'also those that believe that they have joined')
  const listed = await (await boxUser(relay, 'bob')).list()
  t.same(told(listed), ['after "x"'])
  for (const each of [alice, bob]) each.close()
  await carol.disconnectWebSocket()
  forgotten.disconnect()
})

/** The arguments of the next such event. */
const next = (socket: Socket, event: string): Promise<any[]> =>
  new Promise((resolve) => socket.once(event, (...told: any[]) => resolve(told)))

/** A client's first signed message, taken from it before the relay has seen it. */
async function captured(relay: { url: string }, name: string) {
  const user = liveUser(relay, name, {
    transports: ['websocket'],
    reconnection: false,
    forceNew: true,
  } as object)
  const socket = (user.socket as unknown as { ioSocket: Socket }).ioSocket
  const send = socket.emit.bind(socket)
  const message = await new Promise<any>((resolve) => {
    socket.emit = (event: string, given: any) => {
      if (given.messageType !== 'general') send(event, given)
      else resolve(given)
      return socket
    }
  })
  socket.emit = send
  return { socket, message, again: next(socket, 'disconnect'), answered: user.heard('authenticationSuccess') }
}

const malformed: readonly (string | Buffer)[] = [
  '',
  'x',
  '4',
  '4x',
  '42["authMessage",{}]',
  '40{"a":1}\x1e',
  '4451-["authMessage",{"_placeholder":true,"num":0}]',
  `42${'['.repeat(10_000)}`,
  '42["authMessage",null,3]',
  Buffer.from([0, 1, 2]),
  '5',
  '2',
]

/** Opens a WebSocket, greets, sends this, says goodbye, and waits until the relay has ended it. */
async function throwAt(url: string, frame: string | Buffer): Promise<void> {
  const { host, hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {}).resume()
  const asked = [
    'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1',
    ...[`host: ${host}`, 'connection: upgrade', 'upgrade: websocket'],
    ...['sec-websocket-version: 13', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==', '', ''],
  ]
  const said = [masked(1, '40'), masked(typeof frame === 'string' ? 1 : 2, frame), masked(8, '')]
  socket.write(Buffer.concat([Buffer.from(asked.join('\r\n')), ...said]))
  await once(socket, 'close')
}

/** A frame whose mask is zero. */
function masked(opcode: number, given: string | Buffer): Buffer {
  const payload = Buffer.from(given)
  const length = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255]
  return Buffer.concat([
    Buffer.from([128 | opcode, 128 | length[0]!, ...length.slice(1), 0, 0, 0, 0]),
    payload,
  ])
}
