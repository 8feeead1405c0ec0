/** docs/protocol.md §13.7: a live message that was acknowledged lies in its box, however a relay ends. */
import t from 'tap'
import { liveUser } from '../fixtures/box-live.ts'
import { boxUser } from '../fixtures/boxes.ts'
import { spawnRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)
const args = ['--open-boxes']
const perRound = 120

t.test('a relay is killed while its clients send', async (t) => {
  const data = t.testdir()
  let relay = await spawnRelay(data, { args })
  const { port } = relay
  const [alice, bob] = [liveUser(relay, 'alice'), liveUser(relay, 'bob', { rooms: ['inbox'] })]
  await Promise.all([alice.heard('authenticationSuccess'), bob.heard('joinedRoom')])
  const acknowledged = new Set<string>()
  const counted = new Map<number, () => void>()
  for (const round of [1, 2, 3]) {
    const enough = new Promise<void>((resolve) => counted.set(acknowledged.size + 40, resolve))
    for (let at = 0; at < perRound; at++)
      void alice
        .send(bob, 'inbox', { messageId: `${round}-${at}`, body: 'x' })
        .then(({ status, messageId }) => {
          if (status !== 'success') return
          acknowledged.add(messageId)
          counted.get(acknowledged.size)?.()
        })
    await enough
    await relay.kill('SIGKILL')
    relay = await spawnRelay(data, { args, port })
    await Promise.all([alice.heard('authenticationSuccess'), bob.heard('joinedRoom')])
    const { body } = await (await boxUser(relay, 'bob')).list()
    const listed = new Set(body.messages.map(({ messageId }: any) => messageId))
    t.same(
      [...acknowledged].filter((id) => !listed.has(id)),
      [],
      'all that was acknowledged is there',
    )
  }
  t.ok(acknowledged.size >= 120)
  for (const each of [alice, bob]) each.close()
  await relay.kill('SIGTERM')
})
