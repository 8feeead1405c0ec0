/** Orders to a running relay: what becomes of them when either side ends. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MarketError } from '../../market/errors.ts'
import { control, type Execute, openControl } from '../../relay/operator/control.ts'
import { reach } from '../../relay/operator/reach.ts'
import { startTestRelay } from '../fixtures/relay.ts'

/** What stands in for a relay, and the orders it was given. */
async function listen(t: Test, execute: Execute) {
  const file = join(t.testdir(), 'control.json')
  const orders: string[] = []
  const opened = await openControl(file, (order, args, signal) => {
    orders.push(order)
    return execute(order, args, signal)
  })
  return { file, orders, ...opened }
}

t.test('what was interrupted before it was sent is not sent', async (t) => {
  const relay = await listen(t, async () => true)
  const operator = new AbortController()

  const early = control(relay.file, 'early', {}, AbortSignal.abort())
  const reaching = control(relay.file, 'reaching', {}, operator.signal)
  operator.abort()

  // Both at once: either may come first.
  const isGivenUp = (order: Promise<unknown>) =>
    t.rejects(order, { code: 'ERR_BUSY', message: 'interrupted' })
  await Promise.all([isGivenUp(early), isGivenUp(reaching)])
  t.equal(await control(relay.file, 'next'), true)
  await relay.close()
  t.same(relay.orders, ['next'])
})

t.test('an order is given up on both sides when it is interrupted', async (t) => {
  const operator = new AbortController()
  let gaveUp: (value: unknown) => void = () => {}
  const given = new Promise((resolve) => {
    gaveUp = resolve
  })
  const relay = await listen(t, async (_order, _args, signal) => {
    operator.abort()
    await once(signal, 'abort').then(gaveUp)
  })

  await t.rejects(control(relay.file, 'long', {}, operator.signal), { code: 'ERR_BUSY' })

  await given
  await relay.close()
})

t.test('who comes while a relay closes finds none running', async (t) => {
  let finish: (value: unknown) => void = () => {}
  const gate = new Promise((resolve) => {
    finish = resolve
  })
  let begun: (value: unknown) => void = () => {}
  const running = new Promise((resolve) => {
    begun = resolve
  })
  const relay = await listen(t, async () => {
    begun(undefined)
    await gate
    return true
  })
  const first = control(relay.file, 'first')
  await running

  const closed = relay.close()
  const late = control(relay.file, 'late')

  await t.rejects(first, { code: 'ERR_BUSY' })
  await t.rejects(late, { code: 'ERR_NOT_FOUND', extras: { reason: 'not running' } })
  finish(undefined)
  await closed
  t.same(relay.orders, ['first'])
})

t.test('a refusal arrives with its code and its facts, and no answer is without bound', async (t) => {
  const extras = { retryAfterMs: 7 }
  const relay = await listen(t, async (order) => {
    if (order === 'busy') throw new MarketError('ERR_BUSY', 'later', { extras })
    if (order === 'broken') throw new Error('broken')
    return 'x'.repeat(9 << 20)
  })
  t.teardown(() => relay.close())

  await t.rejects(control(relay.file, 'busy'), { code: 'ERR_BUSY', message: 'later', extras })
  await t.rejects(control(relay.file, 'broken'), { code: 'ERR_INTERNAL', extras: {} })
  await t.rejects(control(relay.file, 'large'), { code: 'ERR_TOO_LARGE' })
})

/** Connections of whoever does not know the secret, and does not close his half either. */
async function strangers(t: Test, file: string, count: number, text: string): Promise<Socket[]> {
  const { port } = JSON.parse(readFileSync(file, 'utf8'))
  const sockets = Array.from({ length: count }, () => connect({ port, allowHalfOpen: true }))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  await Promise.all(
    sockets.map(async (socket) => {
      socket.on('error', () => {}).resume()
      await once(socket, 'connect')
      socket.write(text)
    }),
  )
  return sockets
}

t.test('who sends more than one line, or a line without end, is cut off', async (t) => {
  const relay = await listen(t, async () => true)
  t.teardown(() => relay.close())
  for (const text of ['x\n', 'x\nmore', '']) {
    const [socket] = await strangers(t, relay.file, 1, text)
    const closed = new Promise((resolve) => socket!.once('close', resolve))
    let written = 0
    const more = setInterval(() => {
      written += 65_536
      socket!.write(Buffer.alloc(65_536, 'x'))
    }, 1)

    await closed

    clearInterval(more)
    t.ok(written < 64 << 20, JSON.stringify(text))
  }
  t.same(relay.orders, [])
})

t.test('strangers who stay do not keep the operator out, nor does an order that takes long', async (t) => {
  let finish: (value: unknown) => void = () => {}
  const gate = new Promise((resolve) => {
    finish = resolve
  })
  const relay = await listen(t, async (order) => (order === 'long' ? gate : order))
  t.teardown(() => relay.close())
  const long = control(relay.file, 'long')
  while (relay.orders.length === 0) await control(relay.file, 'meanwhile')
  for (const text of ['x\n', '', '{"secret":']) {
    await strangers(t, relay.file, 20, text)

    t.equal(await control(relay.file, 'status'), 'status', JSON.stringify(text))
  }
  finish('done')
  t.equal(await long, 'done')
})

t.test('after an interrupt nothing more is ordered, of a running relay or of a store', async (t) => {
  const data = t.testdir()
  const relay = await startTestRelay(data)
  for (const isRunning of [true, false]) {
    const operator = new AbortController()
    const reached = await reach(data, operator.signal)
    if (isRunning) t.match(await reached.send('status', {}), { key: relay.key })
    else
      await t.rejects(reached.send('status', {}), {
        code: 'ERR_NOT_FOUND',
        extras: { reason: 'not running' },
      })
    t.equal(await reached.send('ping', {}), true)

    operator.abort()

    await t.rejects(reached.send('prices', {}), { code: 'ERR_BUSY', message: 'interrupted' })
    await reached.close()
    if (isRunning) await relay.close()
  }
})
