/** docs/protocol.md §13: a message that was answered lies in its box, one that was acknowledged does not, however a relay ends. */
import t from 'tap'
import { boxUser, told } from '../fixtures/boxes.ts'
import { spawnRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)
const args = ['--open-boxes']

t.test('a relay is killed while it is sent to and acknowledged to', async (t) => {
  const data = t.testdir()
  const answered = new Set<string>()
  const acknowledged = new Set<string>()
  /** The answer to these may be lost. */
  const asked = new Set<string>()
  for (const round of [1, 2, 3]) {
    const relay = await spawnRelay(data, { args })
    const [alice, bob] = [await boxUser(relay, 'alice'), await boxUser(relay, 'bob')]
    const before = told(await bob.list()).map((line) => line.split(' ')[0]!)
    t.same(
      [...answered].filter((id) => !asked.has(id) && !before.includes(id)),
      [],
      'all that was answered is there',
    )
    t.same(
      before.filter((id) => acknowledged.has(id)),
      [],
      'nothing that was acknowledged is',
    )
    let answers = 0
    const isUnderWay = () =>
      answers >= 60 && (before.length === 0 || before.some((id) => acknowledged.has(id)))
    const killed = (async () => {
      while (!isUnderWay()) await new Promise((resolve) => setImmediate(resolve))
      await relay.kill('SIGKILL')
    })()
    const ids = Array.from({ length: 100 }, (_, at) => `${round}-${at}`)
    await Promise.allSettled([
      ...ids.map(async (messageId) => {
        const { status } = await alice.send(bob, { messageId })
        if (status !== 200) return
        answered.add(messageId)
        answers++
      }),
      ...before.slice(0, 20).map(async (id) => {
        asked.add(id)
        const { status } = await bob.ack(id)
        if (status === 200) acknowledged.add(id)
      }),
    ])
    await killed
  }
  t.ok(answered.size >= 180)
  t.ok(acknowledged.size > 0)
})
