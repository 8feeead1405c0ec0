/** docs/protocol.md §12.6 against somebody else's IRC server: Debian's ngircd, with its own idea of what is a flood. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectSecure } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { Outside } from '../../market/channels/channel.ts'
import { IrcChannel, type IrcOptions } from '../../market/channels/irc.ts'
import { splitText } from '../../market/channels/irc-frames.ts'
import type { MarketError } from '../../market/errors.ts'
import { advertiser, makeAdvert } from '../fixtures/adverts.ts'
import { freePort } from '../fixtures/ports.ts'
import { until } from './fixtures/faulty-disk.ts'

/** The longest names that a server can have, so that every line is as short as it ever has to be. */
const room = 'relays'.padEnd(49, '-')
const longestHost = 'h'.repeat(63)
/** Quicker than in life, as far as this server bears it. */
const timing = { answerMs: 300, silenceMs: 2_500, lineMs: 250, backoffMs: 100, settleMs: 20_000, steadyMs: 0 }
const tls = (name: string) => fileURLToPath(new URL(`../fixtures/tls/${name}.pem`, import.meta.url))

const outside: Outside = {
  async connect({ host, port, isSecure }) {
    const ca = isSecure ? readFileSync(tls('cert')) : undefined
    const socket = isSecure
      ? connectSecure({ host, port, ca, checkServerIdentity: () => undefined })
      : connect(port, host)
    await once(socket, isSecure ? 'secureConnect' : 'connect')
    return socket
  },
  fetch: () => Promise.reject(new Error('not by HTTP')),
  now: Date.now,
  random: Math.random,
}

class IrcServer {
  readonly port: number
  readonly securePort: number
  readonly #config: string
  #child: ChildProcess | undefined

  private constructor(folder: string, port: number, securePort: number) {
    this.port = port
    this.securePort = securePort
    this.#config = join(folder, 'ngircd.conf')
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    writeFileSync(key, readFileSync(tls('key')))
    writeFileSync(cert, readFileSync(tls('cert')))
    const global = ['Name = irc.example.test', 'Info = a test', 'Listen = 127.0.0.1', `Ports = ${port}`]
    const limits = ['MaxConnectionsIP = 0', 'MaxPenaltyTime = 1']
    const options = ['DNS = no', 'Ident = no', 'PAM = no', `CloakHost = ${longestHost}`]
    const ssl = [`CertFile = ${cert}`, `KeyFile = ${key}`, `Ports = ${securePort}`]
    const sections = { Global: global, Limits: limits, Options: options, SSL: ssl }
    const text = Object.entries(sections).map(([name, lines]) => [`[${name}]`, ...lines].join('\n'))
    writeFileSync(this.#config, `${text.join('\n')}\n`)
    // Started by root, the server becomes nobody.
    for (const file of [key, cert, this.#config]) chmodSync(file, 0o644)
  }

  static async start(t: Test): Promise<IrcServer> {
    const server = new IrcServer(t.testdir(), await freePort(), await freePort())
    t.teardown(() => server.kill())
    await server.run()
    return server
  }

  async run(): Promise<void> {
    this.#child = spawn('ngircd', ['-n', '-f', this.#config], { stdio: 'ignore' })
    await once(this.#child, 'spawn')
    await until('the server listens', () => isOpen(this.port))
  }

  async kill(): Promise<void> {
    if (this.#child === undefined || this.#child.exitCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
    this.#child = undefined
  }
}

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => resolve(false))
    socket.on('connect', () => resolve(true) === undefined && socket.destroy())
  })

/** Somebody with a keyboard. */
class Person {
  readonly socket: Socket
  heard = ''

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      this.heard += chunk
      for (const [, token] of String(chunk).matchAll(/^PING (.*)\r$/gm)) socket.write(`PONG ${token}\r\n`)
    })
  }

  static async join(t: Test, port: number, nick: string): Promise<Person> {
    const person = new Person(connect(port, '127.0.0.1'))
    t.teardown(() => person.socket.destroy())
    person.say(`NICK ${nick}`, `USER ${nick} 8 * :${nick}`)
    await person.hears(/ 376 | 422 /)
    person.say(`JOIN #${room}`)
    await person.hears(/ 366 /)
    return person
  }

  say(...lines: string[]): void {
    this.socket.write(`${lines.join('\r\n')}\r\n`)
  }

  hears(what: RegExp): Promise<void> {
    return until(`somebody hears ${what}`, async () => what.test(this.heard))
  }
}

function channelOf(t: Test, port: number, options: IrcOptions = {}, scheme = 'irc'): IrcChannel {
  const channel = new IrcChannel(`${scheme}://127.0.0.1:${port}/${room}`, outside, { timing, ...options })
  t.teardown(() => channel.close())
  return channel
}

async function readAll(channel: IrcChannel): Promise<Set<string>> {
  const texts = new Set<string>()
  for await (const text of channel.read()) texts.add(text)
  return texts
}

/** What is heard from now on; it is there when this returns. */
function following(t: Test, channel: IrcChannel): Set<string> {
  const [stop, texts] = [new AbortController(), new Set<string>()]
  const ended = (async () => {
    for await (const text of channel.follow(stop.signal)) texts.add(text)
  })()
  t.teardown(() => {
    stop.abort()
    return ended
  })
  return texts
}

/** The adverts of two relays; the second is as long as an advert may be. */
async function twoAdverts(): Promise<[string, string]> {
  const features = Array.from({ length: 64 }, (_, index) => `feature-${index}`.padEnd(32, '-'))
  const long = { features, address: `https://relay.example/${'p'.repeat(400)}` }
  const [one, two] = [
    await makeAdvert(advertiser(1), Date.now()),
    await makeAdvert(advertiser(2), Date.now(), long),
  ]
  return [one.text, two.text]
}

t.test('two relays advertise; who comes later asks and hears both, over TLS too', async (t) => {
  const server = await IrcServer.start(t)
  const [one, two] = await twoAdverts()
  t.ok(two.length > 3_000)

  await channelOf(t, server.port).publish(one)
  await channelOf(t, server.port).publish(two)

  t.same(await readAll(channelOf(t, server.port)), new Set([one, two]))
  t.same(await readAll(channelOf(t, server.securePort, {}, 'ircs')), new Set([one, two]))
})

t.test('a server that is killed and comes back finds the publishers and their adverts again', async (t) => {
  const server = await IrcServer.start(t)
  const [one, two] = await twoAdverts()
  const problems: MarketError[] = []
  const publisher = channelOf(t, server.port, { onProblem: (problem) => problems.push(problem) })
  const follower = channelOf(t, server.port)
  await publisher.publish(one)
  const heard = following(t, follower)
  await until('the follower hears the advert', async () => heard.has(one))

  await server.kill()
  await t.rejects(readAll(channelOf(t, server.port)), { code: 'ERR_BUSY' })
  await server.run()
  await until('the advert is there again', async () => (await readAll(channelOf(t, server.port))).has(one))
  await publisher.publish(two)

  await until('the follower hears what is new', async () => heard.has(two))
  t.match(problems[0], { code: 'ERR_BUSY' })
})

t.test('floods, forged parts and rubbish neither reach a reader nor keep adverts from him', async (t) => {
  const server = await IrcServer.start(t)
  const [one, two] = await twoAdverts()
  const heard = following(t, channelOf(t, server.port))
  const mallory = await Person.join(t, server.port, 'mallory')
  const forged = splitText(one, `#${room}`).map((line) => line.replace(/.{4}$/, 'AAAA'))
  const flood = Array.from(
    { length: 400 },
    (_, index) => `RM1 ${index.toString(16).padStart(16, '0')} 1/9 QUJD`,
  )
  const rubbish = [
    'RM1 ?',
    'RM1 \u0001PING 1\u0001',
    '\u0001PING 1\u0001',
    'RM1 x',
    'é'.repeat(100),
    '\u0001VERSION\u0001',
  ]
  mallory.say(...[...forged, ...rubbish, ...flood, ...forged].map((line) => `PRIVMSG #${room} :${line}`))

  await channelOf(t, server.port).publish(one)
  await channelOf(t, server.port).publish(two)

  await until('both adverts are heard', async () => heard.has(one) && heard.has(two))
  t.equal(heard.size, 2)
  t.notMatch(mallory.heard, / NOTICE mallory /, 'nobody answers him')
})

t.test('who is kicked comes back; a nick that is taken is left; who may not speak is told', async (t) => {
  const server = await IrcServer.start(t)
  const [one] = await twoAdverts()
  const operator = await Person.join(t, server.port, 'operator')
  const nicks = ['operator', 'operator', 'somebody', 'other']
  const publisher = channelOf(t, server.port, { nick: () => nicks.shift() ?? 'nobody' })

  await publisher.publish(one)
  const whole = /^:somebody![^ ]+ JOIN [\s\S]+^:somebody![^ ]+ PRIVMSG [^ ]+ :RM1 [^ ]+ ([1-9]+)\/\1 /m
  await operator.hears(whole)
  operator.heard = ''
  operator.say(`KICK #${room} somebody :go`)
  await operator.hears(whole)

  operator.say(`MODE #${room} +m`)
  await operator.hears(/ MODE [^ ]+ \+m/)
  await t.rejects(publisher.publish(one), { code: 'ERR_FORBIDDEN' })

  operator.say(`MODE #${room} +b *!*@*`)
  await operator.hears(/ MODE [^ ]+ \+b/)
  await t.rejects(readAll(channelOf(t, server.port)), { code: 'ERR_BUSY', message: /banned_from_channel/ })
})

t.test('what is said is said politely, and is cut nowhere', async (t) => {
  const server = await IrcServer.start(t)
  const [, two] = await twoAdverts()
  const listener = await Person.join(t, server.port, 'listener')
  const times: number[] = []
  listener.socket.on('data', (chunk) => {
    for (const _ of String(chunk).matchAll(/ PRIVMSG /g)) times.push(Date.now())
  })
  const publisher = channelOf(t, server.port)
  const lines = splitText(two, `#${room}`).length

  await publisher.publish(two)
  await until('all lines are heard', async () => times.length === lines)

  t.ok(times.at(-1)! - times[0]! >= (lines - 4) * timing.lineMs * 0.9)
  for (const [, line] of listener.heard.matchAll(/^(:.*PRIVMSG.*)$/gm)) t.ok(line!.length <= 511)
})
