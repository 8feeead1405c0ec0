/** What `relay audit` says on a terminal, and with what exit code. */
import { join } from 'node:path'
import t from 'tap'
import { richCouple, shop } from '../fixtures/audited.ts'
import { identityOf } from '../fixtures/keys.ts'
import { person, relayCommand } from '../fixtures/people.ts'

t.setTimeout(120_000)

t.test('credit is no debt, and proofs cost what they cost', async (t) => {
  t.testdir()
  const { alice, to } = await richCouple(t)
  await alice.client.send(to, 'one')

  const shown = await relayCommand(alice.home, ['audit'], { tty: true })

  t.match(shown, { code: 0, stdout: /PURSE +VERDICT +CLAIMED +SUPPORTED +UNPROVEN +FORGED\n/ })
  t.match(shown.stdout, /1 proof of storage, billed as 1 pull of 1024 bytes, about 15360 satoshi: all good/)
  t.match((await relayCommand(alice.home, ['audit', '--help'])).stdout, /Verdict: explained, if /)
})

t.test('where nothing is paid nothing is billed; a relay that is away is exit code 3', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay', ['--open'])
  const away = { url: 'http://127.0.0.1:1', key: identityOf('nobody').identity }
  const { client, home } = await person(join(t.testdirName, 'alice'), 'Alice', [relay, away])
  await client.send(client.identity, 'to myself')

  const shown = await relayCommand(home, ['audit'], { tty: true })

  t.match(shown, { code: 3, stdout: /1 proof of storage: all good/ })
  t.match(shown.stderr, /cannot reach http:\/\/127\.0\.0\.1:1/)
  t.equal((await relayCommand(home, ['audit', relay.url])).code, 0)
})
