/** docs/protocol.md §14.4: what was answered reaches the other host exactly once, and its sender hears so once, however both end. */
import t from 'tap'
import { boxUser, told } from '../fixtures/boxes.ts'
import { openFederation, type TestHost, until } from '../fixtures/federation.ts'
import { type RelayProcess, spawnRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)
const perRound = 10

t.test('two hosts are killed while one brings messages to the other', async (t) => {
  const { a, b, resident } = await openFederation(t, { now: Date.now() })
  const { key: bob } = await resident('bob', b)
  await Promise.all([a.stop(), b.stop()])
  const running = new Map<TestHost, RelayProcess>()
  const start = async (host: TestHost) => {
    const port = Number(new URL(host.url).port)
    running.set(host, await spawnRelay(host.data, { port, args: ['--open', ...host.args] }))
  }
  const kill = async (host: TestHost) => {
    await running.get(host)?.kill('SIGKILL')
    running.delete(host)
  }
  t.teardown(() => Promise.all([kill(a), kill(b)]))
  /** How often each message was in the box at B before it was acknowledged. */
  const got = new Map<string, number>()
  const collect = async () => {
    const user = await boxUser(b, 'bob')
    const ids = told(await user.list()).map((line) => line.split(' ')[0]!)
    if (ids.length > 0) await user.ack(...ids)
    for (const id of ids) got.set(id, (got.get(id) ?? 0) + 1)
    return got.size
  }
  const answered = new Map<string, string>()
  /** All at once; resolves when all have an answer or will have none. `after` that many answers something is done. */
  const send = async (ids: readonly string[], after = 0, act: () => Promise<void> = async () => {}) => {
    const alice = await boxUser(a, 'alice')
    let acted: Promise<void> | undefined
    let answers = 0
    await Promise.allSettled(
      ids.map(async (messageId) => {
        const { status, body } = await alice.send({ key: bob }, { messageId })
        if (status === 200) answered.set(messageId, body.results[0].delivery)
        if (++answers === after) acted = act()
      }),
    )
    await acted
  }
  const round = (name: string) => Array.from({ length: perRound }, (_, at) => `${name}-${at}`)

  // B ends while it stores, A when it has answered what B cannot have.
  await Promise.all([start(a), start(b)])
  await send(round('first'), 3, () => kill(b))
  t.equal(answered.size, perRound, 'A answers whatever becomes of B')
  await send(round('second'), perRound, () => kill(a))
  t.equal(answered.get('second-0'), 'waiting')
  t.equal(answered.size, 2 * perRound)

  // A ends while it brings them.
  await Promise.all([start(b), start(a)])
  await until(async () => (await collect()) > 0)
  await kill(a)

  // A ends while it brings the rest, and between its answers: who has none asks again.
  await start(a)
  await send(round('third'), 4, () => kill(a))
  await start(a)
  await send(round('third').filter((id) => !answered.has(id)))
  t.equal(answered.size, 3 * perRound)

  const all = [...answered.keys()].sort()
  await until(async () => (await collect()) === all.length)
  const alice = await boxUser(a, 'alice')
  const reports = async (): Promise<any[]> =>
    (await alice.list('delivery_reports')).body.messages.map(({ body }: any) => JSON.parse(body).message)
  const waiting = all.filter((id) => answered.get(id) === 'waiting')
  await until(async () => {
    const ids = (await reports()).map(({ messageId }) => messageId)
    return waiting.every((id) => ids.includes(id))
  })
  await collect()
  t.same([...got.keys()].sort(), all)
  t.same(new Set(got.values()), new Set([1]), 'each of them once')
  const ids = (await reports()).map(({ messageId }) => messageId)
  t.equal(new Set(ids).size, ids.length, 'no report comes twice')
  t.ok((await reports()).every(({ status }) => status === 'delivered'))
  t.same(told(await (await boxUser(a, 'bob')).list()), [], 'nothing stays behind')
})
