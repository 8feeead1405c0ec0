/** The figures of the board (docs/metrics.md). */
import { codes } from '../market/errors.ts'
import type { Figure } from './figures.ts'

export const figuresOfAdverts: readonly Figure[] = [
  {
    type: 'gauge',
    name: 'relay_adverts',
    help: 'Adverts on the board',
    at: ({ market }) => market?.board?.counts.held ?? 0,
  },
  {
    type: 'gauge',
    name: 'relay_advert_listeners',
    help: 'Open WebSockets to which new adverts are pushed',
    at: ({ market }) => market?.live?.count ?? 0,
  },
  {
    type: 'counter',
    name: 'relay_adverts_refused_total',
    help: 'Adverts that the board refused',
    labels: ['code'],
    at: ({ market }) =>
      Object.keys(codes).map((code) => ({
        labels: { code },
        // The counts have codes of the table alone.
        value: market?.board?.counts.refused.get(code as keyof typeof codes) ?? 0,
      })),
  },
  {
    type: 'counter',
    name: 'relay_advert_publications_total',
    help: 'Tries to publish the own advert',
    labels: ['channel', 'outcome'],
    at: ({ market }) =>
      (market?.advertiser()?.tries ?? []).flatMap(({ channel, published, failed }) => [
        { labels: { channel, outcome: 'published' }, value: published },
        { labels: { channel, outcome: 'failed' }, value: failed },
      ]),
  },
]
