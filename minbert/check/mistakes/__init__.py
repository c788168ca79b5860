"""The catalogue of mistakes: tables of rows, one table a stage, each row the one step that is different."""
