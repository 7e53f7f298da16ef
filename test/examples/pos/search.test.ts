import { describe, expect, it } from 'vitest'
import { createIndex, normalise, type Query } from '../../../examples/pos/search.js'

const entries = [
  { id: '1', name: 'Alder Mill rye loaf, 400 g', category: 'Bakery', barcode: '2000000000015' },
  { id: '2', name: 'Crème brûlée, 2 pieces', category: 'Dairy', barcode: '2000000000022' },
  { id: '3', name: 'Loaf tin', category: 'Kitchen', barcode: '2000000000039' },
  { id: '4', name: 'Growers’ Yard apples, 1 kg', category: 'Fruit and vegetables', barcode: '2000000000046' },
  { id: '5', name: 'Rye crispbread, 200 g', category: 'Bakery', barcode: '2000000000053' },
]
const index = createIndex(entries)
const search = (text: string, more: Partial<Query> = {}) =>
  index.search({ text, category: '', offset: 0, limit: 10, ...more })

describe('a search', () => {
  it.each([
    ['', ['1', '2', '3', '4', '5'], 'everything, in the order of the shop'],
    ['loaf', ['3', '1'], 'names that begin with it first'],
    ['lo', ['3', '1'], 'the beginnings of words'],
    ['oaf', [], 'and not their middles'],
    ['rye g 400', ['1'], 'all of the words, in any order'],
    ['RYE', ['5', '1'], 'whatever the case'],
    ['creme bru', ['2'], 'without accents'],
    ['BRÛ', ['2'], 'and with them'],
    ['growers', ['4'], 'signs are no part of words'],
    ['  bakery   rye ', ['1', '5'], 'the category is a word, too'],
    ['2000000000046', ['4'], 'a barcode'],
    [' 3 ', ['3'], 'an id'],
    ['2000', [], 'but no part of a barcode'],
    ['.*', ['1', '2', '3', '4', '5'], 'signs alone are nothing'],
  ])('for %j finds %j: %s', (text, ids) => {
    expect(search(text)).toEqual({ ids, total: ids.length })
  })

  it('stays within a category', () => {
    expect(search('rye', { category: 'Bakery' }).ids).toEqual(['5', '1'])
    expect(search('', { category: 'Dairy' }).ids).toEqual(['2'])
    expect(search('', { category: 'Nowhere' })).toEqual({ ids: [], total: 0 })
  })

  it('gives a page of what it found, and how much there is', () => {
    expect(search('', { offset: 1, limit: 2 })).toEqual({ ids: ['2', '3'], total: 5 })
    expect(search('', { offset: 9 })).toEqual({ ids: [], total: 5 })
    expect(search('2000000000046', { offset: 1 })).toEqual({ ids: [], total: 1 })
  })
})

it('knows what is listed, and counts by category', () => {
  expect([index.size, index.has('1'), index.has('6')]).toEqual([5, true, false])
  expect(index.categories).toEqual([
    { name: 'Bakery', products: 2 },
    { name: 'Dairy', products: 1 },
    { name: 'Fruit and vegetables', products: 1 },
    { name: 'Kitchen', products: 1 },
  ])
})

it('normalises', () => {
  expect(normalise('  Ünder-Wäsche №5 ')).toBe(' under wasche no5')
})
