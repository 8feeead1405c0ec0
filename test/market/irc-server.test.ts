/** docs/protocol.md §12.6: what an IRC server may do to those who connect to it. Ours means no good. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { Outside } from '../../market/channels/channel.ts'
import { IrcChannel, parseIrc } from '../../market/channels/irc.ts'
import { requestLine, splitText } from '../../market/channels/irc-frames.ts'
import { advertiser, makeAdvert } from '../fixtures/adverts.ts'

const outside: Outside = {
  async connect({ host, port }) {
    const socket = connect(port, host)
    await once(socket, 'connect')
    return socket
  },
  fetch: () => Promise.reject(new Error('not by HTTP')),
  now: Date.now,
  random: () => 0.5,
}
const quick = { joinMs: 500, answerMs: 0, silenceMs: 150, backoffMs: 20, backoffMostMs: 20, settleMs: 500 }

type Talk = (socket: Socket, line: string, nick: string) => void

/** A server that answers each line by `talk`. */
async function serve(t: Test, talk: Talk): Promise<{ port: number; lines: string[]; sockets: Socket[] }> {
  const [lines, sockets]: [string[], Socket[]] = [[], []]
  const server = createServer((socket) => {
    sockets.push(socket)
    let [part, nick] = ['', '']
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      const all = `${part}${chunk}`.split('\r\n')
      part = all.pop() ?? ''
      for (const line of all) {
        nick = /^NICK (.*)$/.exec(line)?.[1] ?? nick
        lines.push(line)
        talk(socket, line, nick)
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, lines, sockets }
}

/** A decent one: it greets, lets in, and confirms. */
const greet: Talk = (socket, line, nick) => {
  const say = (text: string) => socket.write(`${text}\r\n`)
  if (line.startsWith('USER '))
    say(`PING :are.you.there\r\n:s 001 ${nick} :Welcome ${nick}!r@h\r\n:s 422 ${nick} :no message`)
  if (/^JOIN /i.test(line)) say(`:${nick}!r@h JOIN :#relays`)
  if (line.startsWith('PING ')) say(`:s PONG s :${line.slice(5)}`)
}

function channelOf(t: Test, port: number): IrcChannel {
  const channel = new IrcChannel(`irc://127.0.0.1:${port}/relays`, outside, { timing: quick })
  t.teardown(() => channel.close())
  return channel
}

async function readAll(channel: IrcChannel): Promise<string[]> {
  const texts: string[] = []
  for await (const text of channel.read()) texts.push(text)
  return texts
}

t.test('odd lines are not heard, and an advert among them is', async (t) => {
  const { text } = await makeAdvert(advertiser(1), Date.now())
  const odd = [
    ...[
      'PING',
      'PING ',
      'PING :',
      ':s',
      ':',
      '',
      ' ',
      '\u2028 :',
      ':s 001',
      ':s 001 x',
      ':s 433',
      ':s 005 x A=1',
    ],
    ...[
      ':s 353 x = #relays :a b',
      ':s 311 x y z',
      ':x JOIN',
      ':x!y@z JOIN :#relays',
      ':x!y@z KICK #relays',
      'KICK',
    ],
    ...[
      ':x!y@z PRIVMSG',
      ':x!y@z PRIVMSG #relays',
      ':x!y@z PRIVMSG #relays :\u0001PING 1\u0001',
      ':x PRIVMSG : RM1 ',
    ],
    ...[
      ':s CAP * LS :sasl',
      'AUTHENTICATE +',
      ':s 432 x',
      ':s 404',
      ':x!y@z NICK',
      'ERROR',
      ':s 376',
      '\0\r\r',
    ],
  ]
  const server = await serve(t, (socket, line, nick) => {
    greet(socket, line, nick)
    if (!line.endsWith(requestLine)) return
    for (const one of odd) socket.write(`${one}\r\n`)
    for (const part of splitText(text, '#relays')) socket.write(`:x!y@z PRIVMSG #Relays :${part}\r\n`)
  })

  t.same(await readAll(channelOf(t, server.port)), [text])
  t.ok(server.lines.includes('PONG are.you.there'))
  t.notOk(
    server.lines.some((line) => /^(?:CAP|WHOIS|MODE|NOTICE|AUTHENTICATE)/.test(line)),
    'we say no more than we must',
  )
})

t.test('a server that does not end its lines, greets oddly, refuses or says nothing is left', async (t) => {
  const talks: Record<string, Talk> = {
    'a line without an end': (socket, line) => line.startsWith('USER ') && socket.write('x'.repeat(100_000)),
    'a line that is too long': (socket, line) =>
      line.startsWith('USER ') && socket.write(`${'x'.repeat(100_000)}\r\n`),
    silence: () => undefined,
    'no nick is good enough': (socket, line, nick) =>
      line.startsWith('NICK ') && socket.write(`:s 433 * ${nick} :taken\r\n`),
    'a ban': (socket, line, nick) => {
      if (/^JOIN /i.test(line)) socket.write(`:s 474 ${nick} #relays :banned\r\n`)
      else greet(socket, line, nick)
    },
  }
  await Promise.all(
    Object.entries(talks).map(async ([name, talk]) => {
      const server = await serve(t, talk)
      await t.rejects(readAll(channelOf(t, server.port)), { code: 'ERR_BUSY' }, name)
      t.ok(server.lines.length < 100, 'and is not talked to for long')
    }),
  )
})

t.test('one who is asked again and again answers a few times', async (t) => {
  const { text } = await makeAdvert(advertiser(2), Date.now())
  const server = await serve(t, greet)
  const channel = channelOf(t, server.port)
  await channel.publish(text)
  const said = () => server.lines.filter((line) => line.startsWith('PRIVMSG ')).length
  const parts = splitText(text, '#relays').length
  const asked = channelOf(t, server.port)
  for (let index = 0; index < 200; index++)
    server.sockets[0]!.write(`:x!y@z PRIVMSG #relays :${requestLine}\r\n`)

  await t.resolves(readAll(asked), 'time passes')

  t.ok(said() <= 5 * parts, `${said()} lines`)
})

t.test('nothing is connected before it is used, and a closed channel is closed', async (t) => {
  const channel = channelOf(t, 1)
  await channel.close()

  await t.rejects(readAll(channel), { code: 'ERR_BUSY' })
  await t.rejects(channel.publish('{}'), { code: 'ERR_MALFORMED' })
})

t.test('a channel is named by a URL', async (t) => {
  const at = { host: 'irc.example', port: 6667, isSecure: false, channel: '#relays' }

  t.same(parseIrc('irc://irc.example/relays'), at)
  t.same(parseIrc('irc://irc.example/Relays'), at)
  t.same(parseIrc('ircs://irc.example/relays'), { ...at, port: 6697, isSecure: true })
  t.same(parseIrc('irc://[2001:db8::1]:7000/a.b-c'), {
    ...at,
    host: '2001:db8::1',
    port: 7000,
    channel: '#a.b-c',
  })
  for (const wrong of [
    'irc://irc.example',
    'irc://irc.example/',
    'irc://irc.example/#relays',
    'irc://irc.example/a,b',
    'irc://irc.example/a%20b',
    'irc://irc.example/a/b',
    'irc://me:secret@irc.example/relays',
    'http://irc.example/relays',
    `irc://irc.example/${'x'.repeat(50)}`,
  ])
    t.throws(() => parseIrc(wrong), { code: 'ERR_MALFORMED' }, wrong)
})
