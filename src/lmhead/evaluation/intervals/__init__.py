"""How sure a figure is: intervals of ratios, whose unit is the document, since tokens of one document are alike."""
