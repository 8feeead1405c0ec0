/** docs/protocol.md §8.1 against somebody else's SOCKS5 server: Debian's microsocks, which resolves the names it is given. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Client } from '../../client/index.ts'
import { freePort } from '../fixtures/ports.ts'
import { spawnRelay } from '../fixtures/relay.ts'
import { until } from './fixtures/faulty-disk.ts'

const secret = ['-u', 'relay', '-P', 'secret']

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => resolve(false)).on('connect', () => resolve(true))
    socket.on('connect', () => socket.destroy())
  })

async function startProxy(t: Test): Promise<string> {
  const port = await freePort()
  const child = spawn('microsocks', ['-i', '127.0.0.1', '-p', String(port), ...secret], { stdio: 'ignore' })
  t.teardown(() => child.kill())
  await once(child, 'spawn')
  await until('the proxy listens', () => isOpen(port))
  return `127.0.0.1:${port}`
}

t.test('a message goes out and comes in through it, over HTTP and WebSocket', async (t) => {
  const relay = await spawnRelay(join(t.testdir(), 'relay'), { args: ['--open', '--listen', '0.0.0.0:0'] })
  t.teardown(() => relay.kill('SIGKILL'))
  const server = await startProxy(t)
  const lookup = async (host: string) => {
    t.fail(`${host} was resolved here`)
    return []
  }
  const relays = [`http://${hostname()}:${relay.port}#${relay.key}`]
  const person = (label: string, proxy = `socks5h://relay:secret@${server}`) =>
    Client.init(join(t.testdirName, label), { label, relays, lookup, proxy })
  const [alice, bob] = [await person('Alice'), await person('Bob')]
  await alice.addFriend((await bob.me()).text)
  await bob.addFriend((await alice.me()).text)
  const stop = new AbortController()

  await alice.send(bob.identity, 'hello')
  const heard: unknown[] = []
  await bob.listen({
    signal: stop.signal,
    onMessage({ payload }) {
      heard.push(payload)
      stop.abort()
    },
  })

  t.match(heard, [{ text: 'hello' }])

  const stranger = await person('Mallory', `socks5h://relay:wrong@${server}`)
  t.match(await stranger.ping(), [{ error: { code: 'ERR_UNREACHABLE', message: /^the proxy / } }])
})
