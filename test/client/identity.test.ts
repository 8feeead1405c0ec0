/** docs/protocol.md §8.2: the same signed bytes as a file, in a URL, as a QR code, and on the relays of their owner. */
import { join } from 'node:path'
import t from 'tap'
import { encode } from 'uqr'
import { Client } from '../../client/index.ts'
import { Home } from '../../client/home/home.ts'
import { post } from '../../client/mail/post.ts'
import { contextOf } from '../../client/open.ts'
import { qrCode } from '../../client/terminal/qr.ts'
import { formatAddress } from '../../market/address.ts'
import { type IdentityFile, publishedId, sealIdentity } from '../../market/identity-file.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { person, relayCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

const folder = t.testdir()
const one = await startTestRelay(join(folder, 'one'))
const two = await startTestRelay(join(folder, 'two'))
t.teardown(() => Promise.all([one.close(), two.close()]))

const homeOf = (name: string): string => join(folder, name)
const placeOf = (relay: { url: string }, key: string) => `${relay.url}/.well-known/relay-identity/${key}`
const newcomer = async (name: string) => (await person(homeOf(name), name)).home

async function served(relay: { url: string }, key: string) {
  const response = await fetch(placeOf(relay, key))
  const forks = response.headers.get('relay-identity-forks')
  return { status: response.status, text: await response.text(), forks }
}

t.test('a URL is the whole file: nobody is asked', async (t) => {
  const { client, home } = await person(homeOf('Alice'), 'Alice', [one])
  const { url } = (await relayCommand(home, ['id', '--url'])).rows[0]

  const added = await relayCommand(await newcomer('Bob'), ['friend', 'add', url, '--as', 'A'])
  const piped = await relayCommand(await newcomer('Carol'), ['friend', 'add', '-'], { stdin: `${url}\n` })

  t.match(added.rows, [{ alias: 'A', key: client.identity, relays: [formatAddress(one)] }])
  t.match(piped.rows, [{ alias: 'Alice' }])
  t.equal(url.split('#')[0], placeOf(one, client.identity))
  t.equal((await served(one, client.identity)).status, 404)
})

t.test('a URL that was cut off, or leads to another, is refused', async (t) => {
  const home = await newcomer('Dora')
  const [mine, hers] = [
    await relayCommand(home, ['id', '--url']),
    await relayCommand(homeOf('Alice'), ['id', '--url']),
  ]
  const [place, packed] = mine.rows[0].url.split('#')
  const reader = (await person(homeOf('Emil'), 'Emil')).client

  await t.rejects(reader.addFriend(`${place}#${packed.slice(0, 90)}`), { code: 'ERR_MALFORMED' })
  await t.rejects(reader.addFriend(`${place}#${hers.rows[0].url.split('#')[1]}`), { code: 'ERR_UNTRUSTED' })
  await t.rejects(reader.addFriend(place), { code: 'ERR_MALFORMED' })
  await t.rejects(reader.addFriend(`${one.url}/somewhere`), { code: 'ERR_MALFORMED' })
  t.match(place, /^relay-identity:0[23]/)
  t.match(await reader.addFriend(mine.rows[0].url), { succession: 'new' })
})

t.test('a QR code on a terminal says the URL', async (t) => {
  const { url } = (await relayCommand(homeOf('Alice'), ['id', '--url'])).rows[0]

  const { stdout, stderr } = await relayCommand(homeOf('Alice'), ['id', '--qr'], { tty: true })

  const lines = stdout.trimEnd().split('\n')
  const { data, size } = encode(url, { ecc: 'L', border: 4 })
  const [before, after] = ['\u001b[97;40m', '\u001b[0m']
  const modules = lines.map((line) => [...line.slice(before.length, -after.length)])
  const isDark = (row: number, column: number) =>
    (row % 2 === 0 ? [' ', '▄'] : [' ', '▀']).includes(modules[row >> 1]![column]!)
  const read = Array.from({ length: size }, (_, row) =>
    Array.from({ length: size }, (_, at) => isDark(row, at)),
  )
  t.same(read, data)
  t.match(stderr, `the code is ${size} columns wide`)
  t.throws(() => qrCode('x'.repeat(3000), { colours: false }), { code: 'ERR_TOO_LARGE' })
})

t.test('relays serve what their user published, through every change, until he takes it back', async (t) => {
  const { client, home } = await person(homeOf('Fred'), 'Fred', [one])
  const key = client.identity

  const first = await relayCommand(home, ['id', '--publish'])
  const again = await relayCommand(home, ['id', '--publish'])

  t.match(
    [first.rows, again.rows],
    [[{ state: 'delivered', places: [placeOf(one, key)] }], [{ state: 'published' }]],
  )
  t.same(await served(one, key), { status: 200, text: (await client.me()).text, forks: '0' })
  const reader = await newcomer('Gina')
  t.match((await relayCommand(reader, ['friend', 'add', placeOf(one, key)])).rows, [{ alias: 'Fred' }])

  await client.addRelay(formatAddress(two))

  const { text } = await client.me()
  t.same([(await served(one, key)).text, (await served(two, key)).text], [text, text])
  const followed = await relayCommand(reader, ['friend', 'add', placeOf(one, key)])
  t.match(followed.rows, [{ succession: 'next', relays: [formatAddress(one), formatAddress(two)] }])

  await client.removeRelay(one.url)

  const newest = (await client.me()).text
  t.same([(await served(one, key)).text, (await served(two, key)).text], [newest, newest])
  const kept = (await client.outbox()).filter(({ state }) => state !== 'deleted')
  t.equal(kept.length, 1)

  const taken = await relayCommand(home, ['id', '--unpublish'])
  t.match(taken.rows, [{ wasPublished: true }])
  t.same([(await served(one, key)).status, (await served(two, key)).status], [404, 404])
})

t.test(
  'the highest seq wins, whatever came last; a reader takes no step back, and hears of forks',
  async (t) => {
    const { client, home } = await person(homeOf('Hans'), 'Hans', [one])
    const ctx = await contextOf(await Home.open(home), {})
    const put = async (file: IdentityFile, seq = file.msg.request.seq) => {
      const payload = { type: 'identity' as const, identity: JSON.parse(file.text) as unknown }
      const recordId = publishedId(seq, Math.random().toString(36).slice(2))
      await post(ctx, { to: ANYONE_KEY, payload, tag: 'identity', recordId })
    }
    const next = (previous: IdentityFile, label: string) =>
      sealIdentity({ label, relays: [formatAddress(one)], now: ctx.now(), previous }, ctx.wallet)
    const first = await client.me()
    const second = await next(first, 'second')
    const stolen = await next(first, 'stolen')
    const key = client.identity

    await put(second)
    await put(first)
    // Named after a number that is not its own, and nothing that is no file: neither counts.
    await put(first, second.msg.request.seq + 5)
    await post(ctx, {
      to: ANYONE_KEY,
      payload: { type: 'text', text: 'x' },
      recordId: publishedId(9e15, 'x'),
    })

    t.same(await served(one, key), { status: 200, text: second.text, forks: '0' })

    const reader = await person(homeOf('Ida'), 'Ida')
    await reader.client.addFriend(placeOf(one, key))
    const back = await relayCommand(reader.home, ['friend', 'add', '-'], { stdin: first.text })
    t.match(back, { code: 1, stderr: /older/ })

    await put(stolen)

    t.equal((await served(one, key)).forks, '1')
    const warned = await relayCommand(await newcomer('Jan'), ['friend', 'add', placeOf(one, key)])
    t.match(warned.stderr, /two contradicting identity files/)
    const forked = await relayCommand(reader.home, ['friend', 'add', '-'], { stdin: stolen.text })
    t.match(forked, { code: 1, stderr: /fork/ })
  },
)

t.test('only who may write there is served, and nothing but keys is asked for', async (t) => {
  const closed = await startTestRelay(join(folder, 'closed'), { args: [] })
  t.teardown(() => closed.close())
  const { client, home } = await person(homeOf('Kurt'), 'Kurt', [closed])

  const { code, stderr } = await relayCommand(home, ['id', '--publish'])

  t.match({ code, stderr }, { code: 4, stderr: /ERR_NO_ACCOUNT/ })
  t.match(await served(closed, client.identity), { status: 404, text: /ERR_NOT_FOUND/ })
  t.match(await served(closed, 'nobody'), { status: 404 })
  t.match(await served(closed, ANYONE_KEY), { status: 404 })
})

t.test('what is published is waited for where no relay answers now', async (t) => {
  const gone = { url: 'http://127.0.0.1:1', key: one.key }
  const home = homeOf('Lena')
  await Client.init(home, { label: 'Lena', relays: [formatAddress(gone)] })

  const { code, rows } = await relayCommand(home, ['id', '--publish'])

  t.match({ code, rows }, { code: 0, rows: [{ state: 'queued' }] })
})
