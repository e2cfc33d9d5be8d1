import { expect } from 'chai';
import { compareTypes, type TypeRelation } from '../../src/lib/domain/column-types.js';

/** local, EC2, what EC2's type is to local's, and what it is the other way round. */
const CASES: readonly (readonly [local: string, ec2: string, there: TypeRelation, back: TypeRelation])[] = [
  ['numeric(5,2)', 'numeric(5,2)', 'same', 'same'],
  ['numeric(5,2)', 'numeric(4,1)', 'narrower', 'wider'],
  ['numeric(5,2)', 'numeric(4,2)', 'narrower', 'wider'],
  ['numeric(5,2)', 'numeric(6,3)', 'wider', 'narrower'],
  ['numeric(5,2)', 'numeric(5,3)', 'narrower', 'narrower'],
  ['numeric(5,2)', 'numeric(10,1)', 'narrower', 'narrower'],
  ['numeric(5,2)', 'numeric', 'wider', 'narrower'],
  ['numeric(5,-2)', 'numeric(7,0)', 'wider', 'narrower'],
  ['numeric(5,2)', 'double precision', 'narrower', 'narrower'],
  ['numeric', 'real', 'narrower', 'narrower'],
  ['numeric(5,0)', 'integer', 'narrower', 'narrower'],
  ['smallint', 'integer', 'wider', 'narrower'],
  ['bigint', 'integer', 'narrower', 'wider'],
  ['smallint', 'real', 'wider', 'narrower'],
  ['integer', 'real', 'narrower', 'narrower'],
  ['integer', 'double precision', 'wider', 'narrower'],
  ['bigint', 'double precision', 'narrower', 'narrower'],
  ['integer', 'numeric(10,0)', 'wider', 'narrower'],
  ['integer', 'numeric(11,2)', 'narrower', 'narrower'],
  ['bigint', 'numeric', 'wider', 'narrower'],
  ['double precision', 'real', 'narrower', 'wider'],
  ['character varying(255)', 'character varying(50)', 'narrower', 'wider'],
  ['character varying(255)', 'text', 'wider', 'narrower'],
  ['character varying', 'text', 'alike', 'alike'],
  ['character varying(10)', 'character(10)', 'narrower', 'wider'],
  ['character(4)', 'character(8)', 'wider', 'narrower'],
  ['timestamp with time zone', 'timestamp(0) with time zone', 'narrower', 'wider'],
  ['timestamp(6) without time zone', 'timestamp without time zone', 'alike', 'alike'],
  ['timestamp without time zone', 'timestamp with time zone', 'mixed-time', 'mixed-time'],
  ['timestamp(0) without time zone', 'timestamp with time zone', 'mixed-time', 'mixed-time'],
  ['time without time zone', 'time with time zone', 'other', 'other'],
  ['time(3) without time zone', 'time without time zone', 'wider', 'narrower'],
  ['date', 'timestamp without time zone', 'wider', 'narrower'],
  ['jsonb', 'json', 'incomparable', 'narrower'],
  ['jsonb', 'text', 'other', 'other'],
  ['boolean', 'integer', 'other', 'other'],
  ['integer[]', 'bigint[]', 'wider', 'narrower'],
  ['integer[]', 'integer', 'other', 'other'],
  ['bit(4)', 'bit(8)', 'narrower', 'narrower'],
  ['interval', 'interval(0)', 'narrower', 'wider'],
  ['interval day to second', 'interval', 'other', 'other'],
  ['public.mood', 'public.mood', 'same', 'same'],
  ['public.mood', 'text', 'other', 'other'],
];

describe('compareTypes', () => {
  for (const [local, ec2, there, back] of CASES) {
    it(`finds ${ec2} ${there} beside ${local}, and ${back} the other way round`, () => {
      expect(compareTypes(local, ec2)).to.equal(there);
      expect(compareTypes(ec2, local)).to.equal(back);
    });
  }
});
